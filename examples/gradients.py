"""`ctcl-hf gradients`, as a script."""

from ctcl_hf.cli.gradients import main

if __name__ == "__main__":
    main()
