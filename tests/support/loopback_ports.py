"""Ports for servers that tests start: nobody gets one twice while its process of tests runs, not even another process."""

import random
import socket
from contextlib import suppress

# Below those that systems give to outgoing connections (from 32,768 on), and so that a port and its cluster bus, which
# listens 10,000 above, are both in it.
_FIRST, _END = 11_000, 21_000
BUS = 10_000

# Who holds a port in UDP owns it in TCP, until its process ends.
_owned: list[socket.socket] = []


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that is free at *address*, and whose bus is; it stays ours until this process ends."""
    # Not as the test is seeded, or all processes would try the same ones.
    for port in random.SystemRandom().sample(range(_FIRST, _END), _END - _FIRST):
        owner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with suppress(OSError):
            owner.bind(("127.0.0.1", port))
            for each in (port, port + BUS):
                with socket.socket() as probe:
                    probe.bind((address, each))
            _owned.append(owner)
            return port
        owner.close()
    raise AssertionError("no port is free")
