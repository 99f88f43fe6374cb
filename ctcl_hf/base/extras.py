"""What an installation may lack: told with the line that installs it, before anything else is
done.
"""

from importlib.util import find_spec


def require(extra: str, *modules: str) -> None:
    """ImportError, with the line that installs them, if some of an extra's modules are not
    there.
    """
    if missing := [module for module in modules if find_spec(module) is None]:
        raise ImportError(f"{', '.join(missing)} not installed: {install_line(extra)}")


def install_line(extra: str) -> str:
    """What installs an extra, from the package's registry and from a checkout."""
    return f"pip install 'ctcl-hf[{extra}]' ('.[{extra}]' in a checkout)"
