"""`python -m ctcl_hf` is `ctcl-hf`."""

from .cli import main

if __name__ == "__main__":
    main()
