"""`ctcl-hf space`, as a script."""

from ctcl_hf.cli.space import main

if __name__ == "__main__":
    main()
