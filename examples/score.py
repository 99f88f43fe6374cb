"""`ctcl-hf evaluate`, as a script.

Not evaluate.py: scripts beside it would import it for the library of that name.
"""

from ctcl_hf.cli.evaluate import main

if __name__ == "__main__":
    main()
