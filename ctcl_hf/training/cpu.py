"""How a training process uses a CPU."""

import ctypes
import os
import platform
from pathlib import Path

# malloc.h; mallopt(3)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


# Either is set only by a launcher: by accelerate's, by torchrun.
LAUNCHED = ("ACCELERATE_DYNAMO_MODE", "TORCHELASTIC_RUN_ID")


def threads_of_environment() -> int | None:
    """What the user's OMP_NUM_THREADS says; None if it is not set.

    Launchers set it to 1 where the user has not: of them, 1 says nothing unless they were given it.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    is_launched = any(name in os.environ for name in LAUNCHED)
    if not told.isdecimal() or int(told) < 1:
        return None
    if is_launched and told == "1" and b"OMP_NUM_THREADS=1" not in environment_of_launcher():
        return None
    return int(told)


def environment_of_launcher() -> list[bytes]:
    """`NAME=VALUE` of what the process that started this one was itself started with; nothing where
    the system (other than Linux) does not tell.
    """
    try:
        return Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def threads_of_process(wanted: int | None) -> int:
    """Threads that torch is to use in this process: as many as `wanted`, else as the user's
    environment says, else its share of the machine's cores.
    """
    share = max((os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)
    return wanted or threads_of_environment() or share


def prepare_cpu(threads: int) -> None:
    """Sets the number of threads torch computes with, and keeps freed memory for the next step."""
    import torch  # not by who asks for threads alone

    torch.set_num_threads(threads)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Lets this process reuse the memory of freed tensors; returns whether the C library could be
    told to.

    glibc gives blocks of 32 MiB and more back to the kernel when they are freed. Most activations
    are that large, so that every step asks for the same gigabytes again and the kernel hands them
    out zeroed, 4 KiB at a time: up to a third of a step (docs/benchmarks.md). Nothing computed
    changes; the peak grows by a few percent (8.5 to 9.0 GiB).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1))
