"""`ctcl-hf compare`, as a script."""

from ctcl_hf.cli.compare import main

if __name__ == "__main__":
    main()
