"""What starts the processes of a run, and may end before them."""

import os

from ..cpu import LAUNCHED

# Set for a run whose parent passes signals on, without which it is to save and stop: that parent's
# process id, since it may be gone before this one asks.
ENDS_WITH_PARENT = "CTCL_HF_ENDS_WITH_PARENT"


def launcher_of_process() -> int | None:
    """The process without which this one is to stop; None if it may outlive the one that started
    it, as in the background of a shell.
    """
    if ENDS_WITH_PARENT in os.environ:
        return int(os.environ[ENDS_WITH_PARENT])
    return os.getppid() if any(name in os.environ for name in LAUNCHED) else None
