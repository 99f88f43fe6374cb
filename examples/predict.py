"""`ctcl-hf predict`, as a script."""

from ctcl_hf.cli.predict import main

if __name__ == "__main__":
    main()
