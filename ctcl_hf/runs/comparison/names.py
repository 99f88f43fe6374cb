"""Names of a grid's folders and files."""

import hashlib
import re

from .paper import Row

LONGEST_NAME = 120  # characters of a file or folder


def folder_name(row: Row) -> str:
    """`--method ctcl --kl_direction reverse` -> `ctcl-kl_direction-reverse`."""
    name = re.sub(r"[^\w.]+", "-", row.arguments.replace("--method", "").replace("--", "")).strip(
        "-"
    )
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{_digest(row.arguments)}"


def safe_name(text: str) -> str:
    """A name for a file or folder that is no path: `a/b+c` -> `a-b+c-` and a hash, by which it
    differs from `a-b+c`.
    """
    name = re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).strip("-.")
    return (
        name
        if name == text and len(name) <= LONGEST_NAME
        else f"{name[:LONGEST_NAME]}-{_digest(text)}"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
