"""What a resync frees goes back to the system."""

import platform
import subprocess
import sys

import pytest

_FREES_BLOCKS = """
from partialstate_service.resync.allocator import return_freed_memory
assert return_freed_memory()

def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

before = resident_kib()
for _ in range(3):
    blocks = [bytearray(8 << 20) for _ in range(8)]
    small = bytearray(1 << 20)
    del blocks
assert resident_kib() - before < 8 * 1024, resident_kib() - before
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is set")
def test_large_blocks_are_given_back_when_they_are_freed():
    """In a process of its own: the allocator is the process's."""
    subprocess.run([sys.executable, "-c", _FREES_BLOCKS], check=True, timeout=30)
