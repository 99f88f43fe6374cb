"""How arguments tell what is wrong with them: all of it at once."""


def raise_problems(checks: list[tuple[bool, str]]) -> None:
    """ValueError with the sentence of each check that found its arguments wrong, if any did."""
    if problems := [problem for is_wrong, problem in checks if is_wrong]:
        raise ValueError("\n".join(problems))
