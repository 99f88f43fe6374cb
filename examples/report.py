"""`ctcl-hf report`, as a script."""

from ctcl_hf.cli.report import main

if __name__ == "__main__":
    main()
