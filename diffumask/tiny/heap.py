"""Let a training on a CPU keep its memory from step to step."""

import ctypes
import platform

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD_BYTES = 256 << 20


def keep_heap() -> None:
    """Tell glibc to serve large blocks from its heap and never to give that back.

    By default each large activation is mapped and faulted in anew in every step. Does nothing
    under another C library.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
    mallopt(M_TOP_PAD, TOP_PAD_BYTES)
