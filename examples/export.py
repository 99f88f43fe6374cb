"""`ctcl-hf export`, as a script."""

from ctcl_hf.cli.export import main

if __name__ == "__main__":
    main()
