"""How arguments tell what is wrong with them: all of it at once."""

import difflib
from collections.abc import Iterable

# how to go on without files that are bad, where a command can
SKIP = "Leave out what cannot be used with --skip_bad."


def did_you_mean(word: str, choices: Iterable[object]) -> str:
    """A question whether the nearest of some choices was meant; "" if none is near."""
    near = difflib.get_close_matches(word, map(str, choices), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def raise_problems(checks: list[tuple[bool, str]]) -> None:
    """ValueError with the sentence of each check that found its arguments wrong, if any did."""
    if problems := [problem for is_wrong, problem in checks if is_wrong]:
        raise ValueError("\n".join(problems))
