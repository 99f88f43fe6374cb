"""The old spelling of score.py: a folder, which Python runs, but does not import for the library
`evaluate`.
"""

import sys

if __name__ == "__main__":
    sys.exit(
        "examples/evaluate.py is examples/score.py now, or `ctcl-hf evaluate`; its options are the "
        "same."
    )
