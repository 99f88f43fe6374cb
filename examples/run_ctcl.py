"""`ctcl-hf train`, as a script that `accelerate launch` takes."""

from ctcl_hf.cli.train import main

if __name__ == "__main__":
    main()
