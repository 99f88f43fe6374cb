"""Fresh processes that talk to a Hub on loopback: huggingface_hub reads its environment once, when
it is imported.
"""

import os
import subprocess
import sys
from pathlib import Path

from publishing.server import Hub

EXAMPLES = Path(__file__).parents[2] / "examples"


def environment(
    hub: Hub, home: Path, xet: bool = False, token: str = "hf_writer"
) -> dict[str, str]:
    """Of a user with an empty HF_HOME, logged in to this Hub."""
    home.mkdir(parents=True, exist_ok=True)
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": str(int(not xet)),
    }
    return os.environ | own | {"HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}


def run(*command: object, **options) -> subprocess.CompletedProcess:
    """A Python process to its end."""
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=300, **options
    )
