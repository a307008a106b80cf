"""Have glibc keep memory that a computation on a CPU will ask for again at once."""

import ctypes
import platform

# From glibc's malloc.h: M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD in bytes.
OPTIONS = {-4: 0, -1: -1, -2: 256 << 20}


def keep_heap() -> None:
    """Tell glibc to serve large blocks from its heap and never to give that back.

    By default each large activation is mapped and faulted in anew in every step, which
    `python -m benchmarks cpu_defaults` measures. Holds for the whole process, which keeps what it
    held at its peak. Does nothing under another C library.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in OPTIONS.items():
        mallopt(option, value)
