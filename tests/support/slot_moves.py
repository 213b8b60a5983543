"""Moving a slot of a cluster from one primary to another, key by key, as operators' tools do."""

import hiredis
from support.store_topologies import Deployment, Process


class SlotMove:
    """A slot on its way; between `begin` and `finish` some of its keys are here and some there."""

    def __init__(self, deployment: Deployment, slot: int, source: Process, target: Process) -> None:
        self._deployment, self._slot = deployment, str(slot)
        self._source, self._target = source, target

    def begin(self) -> None:
        """Announce the move; the source goes on to answer for the keys that it has."""
        self._setslot(self._target, "IMPORTING", _name(self._source))
        self._setslot(self._source, "MIGRATING", _name(self._target))

    def move(self, count: int) -> int:
        """Move some keys; return how many."""
        raw = self._source.ask("CLUSTER", "GETKEYSINSLOT", self._slot, str(count))
        reader = hiredis.Reader()
        reader.feed(raw)
        keys = [key.decode() for key in reader.gets()]
        if keys:
            words = ("MIGRATE", "127.0.0.1", str(self._target.port), "", "0", "10000", "KEYS", *keys)
            assert self._source.ask(*words) in (b"+OK\r\n", b"+NOKEY\r\n")
        return len(keys)

    def finish(self) -> None:
        """Give the slot to the target for good."""
        for node in (self._target, self._source, *self._deployment.primaries()):
            self._setslot(node, "NODE", _name(self._target))

    def _setslot(self, node: Process, how: str, name: str) -> None:
        assert node.ask("CLUSTER", "SETSLOT", self._slot, how, name) == b"+OK\r\n"


def _name(node: Process) -> str:
    return node.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode()
