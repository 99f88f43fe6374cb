"""`ctcl-hf push`, as a script."""

from ctcl_hf.cli.push import main

if __name__ == "__main__":
    main()
