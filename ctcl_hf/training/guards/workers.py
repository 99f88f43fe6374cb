"""The processes that load data, and what becomes of a run when a signal comes to them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from torch.utils.data import DataLoader

from .preemption import SIGNALS


def shield_workers(loader: DataLoader) -> DataLoader:
    """The loader, whose workers will ignore the signals that stop a run, unless the main process
    sends them.

    Such a signal may come to all processes of a run, and the main one needs its workers until its
    step is saved.
    """
    loader.worker_init_fn = partial(_start_worker, loader.worker_init_fn)
    return loader


def _start_worker(start: Callable[[int], None] | None, worker: int) -> None:
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where it ends the worker, as ever
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, daemon=True).start()
    if start is not None:
        start(worker)


def _end_when_told() -> None:
    """Ends this process on a SIGTERM from its parent, which may wait for that at its own end."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


class WorkerDeaths:
    """Lets the death of a worker be told only where a run can save itself: while it waits for a
    batch.

    torch raises it from a handler of SIGCHLD, in whatever the main process is doing, in the middle
    of a step as well.
    """

    def __init__(self):
        self._tell: Callable | None = None  # torch's handler, which raises if a worker has died
        self._waiting = False

    @contextmanager
    def told_here(self) -> Iterator[None]:
        """RuntimeError within it if a worker dies, or has died since the last time."""
        self._take_over()
        self._waiting = True
        try:
            if self._tell is not None:
                self._tell(signal.SIGCHLD, None)
            yield
        except (ConnectionError, EOFError) as error:  # it died while it handed over a batch
            raise RuntimeError(f"DataLoader worker exited unexpectedly: {error}") from error
        finally:
            self._waiting = False

    def restore_handler(self) -> None:
        """Leaves SIGCHLD to torch again."""
        if self._tell is not None:
            signal.signal(signal.SIGCHLD, self._tell)
            self._tell = None

    def _take_over(self) -> None:
        if self._tell is not None or threading.current_thread() is not threading.main_thread():
            return
        # Windows has none
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        if getattr(handler, "__module__", None) == "torch.utils.data._utils.signal_handling":
            self._tell = handler
            signal.signal(signal.SIGCHLD, self._handle)

    def _handle(self, number, frame):
        if self._waiting:
            self._tell(number, frame)
