"""Whether the Hugging Face Hub is to be asked, and whether it answers: asked once and quickly,
where its client would try for a minute. And that no answer of it names a place to write to.
"""

import difflib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import _http, get_session, validate_repo_id

from .redaction import redacted

PROBE_SECONDS = 3
# Headers that the client takes for names of files in its cache, without a look at them.
NAMES = (
    "ETag",
    constants.HUGGINGFACE_HEADER_X_LINKED_ETAG,
    constants.HUGGINGFACE_HEADER_X_REPO_COMMIT,
)


def _refuse_paths(response: Any) -> None:
    """OSError for an answer of the Hub, of the client's HTTP library, by which a file would get a
    place outside the cache.

    An answer about a file is told by its commit. The commit of a whole repository, which no header
    names, is a part of the address that is asked for next.
    """
    address = response.request.url.path
    told = {"commit": address} if ".." in address.split("/") else {}
    if constants.HUGGINGFACE_HEADER_X_REPO_COMMIT in response.headers:
        # as the client reads them
        values = {name: response.headers.get(name, "").lstrip("W/").strip('"') for name in NAMES}
        told |= {name: value for name, value in values.items() if _leads_out(value)}
    for what, value in told.items():
        raise OSError(
            f"{shown_endpoint()} answers with the {what} {value!a}, by which the client would "
            "write outside its cache. It was not done: set HF_ENDPOINT to a Hub that is trusted."
        )


def _leads_out(name: str) -> bool:
    path = PureWindowsPath(name)  # which knows both kinds of slashes, and drives
    return bool(path.anchor) or ".." in path.parts


def _guard_cache(made_by: Callable[[], Any]) -> None:
    """From now on the client refuses such answers, however its sessions are made."""

    def make() -> Any:
        client = made_by()
        hooks = client.event_hooks
        client.event_hooks = hooks | {"response": [*hooks["response"], _refuse_paths]}
        return client

    set_client_factory(make)


# For every download of the package, and of whoever imports it. What a user has set before stays.
_guard_cache(_http._GLOBAL_CLIENT_FACTORY)


def shown_endpoint() -> str:
    """The Hub's address, without a user and password that HF_ENDPOINT may hold."""
    return redacted(constants.ENDPOINT)


def near_folder(name: str) -> str:
    """A question whether a folder was meant that is called nearly so and lies there; "" if none."""
    parent = Path(name).parent
    beside = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(Path(name).name, beside, n=1)
    return f" Did you mean {parent / near[0]}?" if near else ""


def is_name_on_hub(name: str) -> bool:
    """Whether it can be the name of a repository on the Hub."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def refuse_missing_folder(name: str) -> None:
    """FileNotFoundError for what is no folder, and cannot be the name of anything on the Hub."""
    if not Path(name).is_dir() and not is_name_on_hub(name):
        raise FileNotFoundError(f"{name}: there is no such folder.{near_folder(name)}")


def refuse_near_folder(name: str) -> None:
    """FileNotFoundError for what is no folder where one is called nearly so, and the Hub, which
    might know the name, does not answer: its client would try for half a minute.
    """
    if Path(name).is_dir() or constants.is_offline_mode() or not (near := near_folder(name)):
        return
    if not hub_answers():
        raise FileNotFoundError(
            f"{name}: there is no such folder, and {shown_endpoint()} does not answer.{near}"
        )


def hub_answers() -> bool:
    """Whether the Hub gives any answer within `PROBE_SECONDS`.

    False where the client is told to stay offline.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
        except Exception:  # of the client's HTTP library, which is not ours to name
            return
        answered.set()

    if constants.is_offline_mode():
        return False
    # In a thread of its own, since no timeout covers the look-up of a name. What hangs there ends
    # with the process.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    return answered.is_set()


@contextmanager
def from_cache_unless_hub_answers() -> Iterator[None]:
    """Within it the client is offline if the Hub does not answer, and gives at once what its cache
    holds.

    OSError with the reason, in place of the client's own error, of what it does not hold.
    """
    before = constants.HF_HUB_OFFLINE
    answers = hub_answers()
    constants.HF_HUB_OFFLINE = before or not answers
    try:
        yield
    except OSError as error:
        if answers:
            raise
        raise OSError(
            f"it is not in the cache, and {shown_endpoint()} "
            + (
                "may not be asked (HF_HUB_OFFLINE)"
                if before
                else f"does not answer within {PROBE_SECONDS} s"
            )
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before
