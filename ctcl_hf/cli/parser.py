"""The command lines of commands whose options are no dataclasses."""

import argparse

from .ending import program


def command_parser(description: str | None, usage: str) -> argparse.ArgumentParser:
    """A parser called what the user called, that shows a docstring as it is written, and takes
    options by their full names alone.
    """
    return argparse.ArgumentParser(
        prog=program(),
        usage=usage,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
