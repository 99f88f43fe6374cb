"""A Hub on loopback for clients in this process."""

import huggingface_hub.utils._http
import pytest
from huggingface_hub import constants
from publishing.server import Hub


@pytest.fixture
def hub(monkeypatch):
    """A Hub without Xet that this process talks to, as the user `tester`."""
    with Hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        # The client waits between its attempts, up to 8 s.
        monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)
        yield running
