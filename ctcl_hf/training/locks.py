"""One writer at a time for an output folder."""

from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

LOCK_FILE = ".lock"  # in an output folder that is written to


def lock_folder(folder: Path, timeout: float = 0) -> AcquireReturnProxy:
    """Acquires the lock on an output folder, which is made if need be: `with lock_folder(folder):`.

    Waits up to `timeout` seconds for it. The operating system frees the lock of a process that
    ends, however it ends.

    Raises:
        OSError: another run holds it, in this process or in another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(folder / LOCK_FILE).acquire(timeout=timeout)
    except Timeout:
        raise OSError(
            f"Another run is writing to {folder}. Wait for its end, or choose another --output_dir."
        ) from None
