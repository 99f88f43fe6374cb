"""`ctcl-hf review`, as a script."""

from ctcl_hf.cli.review import main

if __name__ == "__main__":
    main()
