"""`ctcl-hf prepare`, as a script."""

from ctcl_hf.cli.prepare import main

if __name__ == "__main__":
    main()
