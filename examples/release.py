"""`ctcl-hf release`, as a script."""

from ctcl_hf.cli.release import main

if __name__ == "__main__":
    main()
