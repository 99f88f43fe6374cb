"""Secrets taken out of what is written, shown and recorded: the one place that knows what they look
like.
"""

import os
import re
import shlex
from collections.abc import Sequence

REDACTED = "REDACTED"  # a word of a command line as it is, and of Markdown
# characters of a variable's value that is taken for a secret: shorter ones are words of a text
SHORTEST = 8

_SECRET = r"(?:token|secret|password|passwd|api[_-]?key|access[_-]?key)"
_OPTION = rf"--[\w-]*{_SECRET}"
# What follows these is a secret, as far as it goes; a URL is as good without its user and password.
_PATTERNS = (
    (re.compile(r"(?<=://)[^\s/'\"<>]+@"), ""),
    (
        re.compile(rf"({_OPTION}(?:=|\s+))(?!--)(?:'[^']*'|[^\s'\"]+)", re.IGNORECASE),
        rf"\g<1>{REDACTED}",
    ),
    (
        re.compile(rf"([?&][\w-]*(?:{_SECRET}|signature|sig)=)[^\s&#'\"]+", re.IGNORECASE),
        rf"\g<1>{REDACTED}",
    ),
    (re.compile(r"(\bBearer\s+)[^\s'\"]+"), rf"\g<1>{REDACTED}"),
    # the Hub's and GitHub's
    (re.compile(r"\b(?:hf|api_org|gh[opsu]|github_pat)_[a-zA-Z0-9]{20,}\w*"), REDACTED),
)
# Variables of the environment, by the end of their names.
_VARIABLE = re.compile(
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|SECRET_KEY)$", re.IGNORECASE
)


def redacted(text: str) -> str:
    """The text without tokens and passwords: in options and URLs, of the Hub, and of this process's
    environment.
    """
    values = {
        value
        for name, value in os.environ.items()
        if _VARIABLE.search(name) and len(value) >= SHORTEST
    }
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, REDACTED)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def redacted_words(words: Sequence[str]) -> list[str]:
    """The words of a command line without secrets, where an option and its value may be two of
    them.
    """
    before = ["", *words][: len(words)]
    return [
        REDACTED
        if re.fullmatch(_OPTION, option, re.IGNORECASE) and not word.startswith("--")
        else redacted(word)
        for option, word in zip(before, words, strict=True)
    ]


def shown_command(words: Sequence[str]) -> str:
    """A command line to be recorded or shown, of its words."""
    return shlex.join(redacted_words(words))
