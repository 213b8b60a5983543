"""How the C library's allocator treats what a resync frees: it goes back to the system.

glibc keeps an arena for each of many threads, and after the first large block that is freed keeps larger and larger
ones for later. A resync works in threads on blocks of megabytes, once; in a room of 200,000 members that came to a
hundred megabytes that nobody used. Elsewhere (musl, macOS) nothing is changed.
"""

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_LARGE_BYTES = 512 * 1024
"""To set it keeps it from growing. glibc begins at a quarter, which each read of a TLS connection (256 KiB) is beyond."""
_ARENAS = 2


def return_freed_memory() -> bool:
    """Set the allocator of this process; return whether it is one that can be."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = (
        (_M_MMAP_THRESHOLD, _LARGE_BYTES),
        (_M_TRIM_THRESHOLD, _LARGE_BYTES),
        (_M_ARENA_MAX, _ARENAS),
    )
    outcomes = [mallopt(name, value) for name, value in settings]
    return all(outcomes)
