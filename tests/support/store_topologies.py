"""Sentinels with their servers, and clusters, as real processes on loopback; each ends with the block, or with us."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from support.loopback_ports import free_port
from support.store_server import answer, ask

# The server ends when our end of its standard input does, whatever became of us.
_KEEPER = '"$@" >"$LOG" 2>&1 & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null; wait'
T = TypeVar("T")
SLOTS = 16_384
PRIMARIES = 3
TAKEOVER_MS = 4_000
"""For tests of fail-overs."""
NEVER_MS = 30_000
"""For tests that are not about them: however busy the machine is, no primary is replaced."""
_START_S = 60
_END_S = 60
_HANDSHAKES = 10
_DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory-policy": "noeviction",
    "min-replicas-to-write": "1",
    "repl-diskless-sync-delay": "0",
    "repl-ping-replica-period": "1",
}


@dataclass(frozen=True, slots=True)
class Process:
    """A running server."""

    pid: int
    port: int
    socket: str

    def ask(self, *words: str) -> bytes:
        """Return its raw answer to one command."""
        return ask(self.socket, *words)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def role(self) -> bytes:
        """Return `master` or `slave`."""
        return self.ask("ROLE").split(b"\r\n")[2]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A store in one of its topologies; the first of *nodes* has the registry at first."""

    url: str
    nodes: Sequence[Process]

    def registry_node(self) -> Process:
        """Return the server that takes changes of the registry, once there is one."""
        return until(lambda: [node for node in self.nodes if node.ask("DEL", "{registry}") == b":0\r\n"])[0]

    def clear(self) -> None:
        """Empty the store, once all of its primaries take changes."""
        until(lambda: set(self.ask_all("FLUSHALL")) == {b"+OK\r\n"} and self.registry_node())

    def primaries(self) -> Sequence[Process]:
        """Return those that are primaries now."""
        return [node for node in self.nodes if node.role() == b"master"]

    def ask_all(self, *words: str) -> Sequence[bytes]:
        """Return the raw answers of all primaries to one command."""
        return [node.ask(*words) for node in self.primaries()]


@contextmanager
def sentinel_store(executable: str, directory: Path, takeover_ms: int = TAKEOVER_MS) -> Iterator[Deployment]:
    """Run one primary, two replicas and three Sentinels."""
    options = _DURABLE | _lag(takeover_ms)
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(server_process(executable, directory / f"node{i}", options)) for i in range(3)
        ]
        for replica in nodes[1:]:
            replica.ask("REPLICAOF", "127.0.0.1", str(nodes[0].port))
        sentinels = [
            stack.enter_context(_sentinel(executable, directory / f"sentinel{i}", nodes[0].port, takeover_ms))
            for i in range(3)
        ]
        until(lambda: nodes[0].ask("INFO", "replication").count(b"state=online") == 2)
        for port in sentinels:
            until(
                lambda port=port: (
                    b"num-other-sentinels\r\n$1\r\n2" in _ask_port(port, "SENTINEL", "MASTER", "store")
                )
            )
            until(
                lambda port=port: b"num-slaves\r\n$1\r\n2" in _ask_port(port, "SENTINEL", "MASTER", "store")
            )
        hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
        yield Deployment(f"redis+sentinel://{hosts}/store", nodes)


@contextmanager
def cluster_store(executable: str, directory: Path, takeover_ms: int = TAKEOVER_MS) -> Iterator[Deployment]:
    """Run three primaries with a replica each, and one more for the first one, which has the registry's slot."""
    options = (
        _DURABLE
        | _lag(takeover_ms)
        | {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(TAKEOVER_MS),
            "cluster-replica-validity-factor": "0",
        }
    )
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(server_process(executable, directory / f"node{i}", options))
            for i in range(2 * PRIMARIES + 1)
        ]
        _acquaint(nodes)
        # The slot of {registry} is 3,850.
        bounds = [(SLOTS * i // PRIMARIES, SLOTS * (i + 1) // PRIMARIES) for i in range(PRIMARIES)]
        for node, (first, end) in zip(nodes, bounds, strict=False):
            assert node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1)) == b"+OK\r\n"
        for primary, replica in zip([*nodes[:PRIMARIES], nodes[0]], nodes[PRIMARIES:], strict=True):
            name = primary.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode()
            until(lambda replica=replica, name=name: replica.ask("CLUSTER", "REPLICATE", name) == b"+OK\r\n")
        for node in nodes:
            until(lambda node=node: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"))
        for node in nodes[:PRIMARIES]:
            until(lambda node=node: b"state=online" in node.ask("INFO", "replication"))
        for node in nodes:  # only now: the longer it is, the slower they get to know each other
            node.ask("CONFIG", "SET", "cluster-node-timeout", str(takeover_ms))
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        yield Deployment(f"redis+cluster://{hosts}", nodes)


def until(condition: Callable[[], T], timeout_s: float = _START_S) -> T:
    """Return what *condition* does once that is true; a server that cannot be asked yet is waited for too."""
    give_up = time.monotonic() + timeout_s
    while True:
        trouble: OSError | None = None
        try:
            if found := condition():
                return found
        except OSError as error:
            trouble = error
        if time.monotonic() > give_up:
            raise AssertionError("it never came to be") from trouble
        time.sleep(0.05)


def _lag(takeover_ms: int) -> dict[str, str]:
    return {"min-replicas-max-lag": str(takeover_ms // 1000 - 2)}


def _acquaint(nodes: Sequence[Process]) -> None:
    """Let the nodes of a cluster meet: a handshake that takes too long is given up by them, so it is begun again."""
    known = f"cluster_known_nodes:{len(nodes)}\r\n".encode()
    for _ in range(_HANDSHAKES):
        for node in nodes[1:]:
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", str(node.port))
        with suppress(AssertionError):
            return until(lambda: all(known in node.ask("CLUSTER", "INFO") for node in nodes), 10)
    raise AssertionError("the nodes of the cluster did not meet")


@contextmanager
def server_process(executable: str, directory: Path, options: dict[str, str]) -> Iterator[Process]:
    """Run a server, until the block ends."""
    port, path = free_port(), directory / "s"
    directory.mkdir(parents=True)
    words = {
        "port": str(port),
        "bind": "127.0.0.1",
        "unixsocket": str(path),
        "dir": str(directory),
        **options,
    }
    command = [executable, *(word for name, value in words.items() for word in (f"--{name}", value))]
    with _kept(command, directory) as pid:
        process = Process(pid, port, str(path))
        _await(lambda: process.ask("PING") == b"+PONG\r\n", directory)
        yield process


@contextmanager
def _sentinel(executable: str, directory: Path, primary_port: int, takeover_ms: int) -> Iterator[int]:
    port = free_port()
    directory.mkdir(parents=True)
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor store 127.0.0.1 {primary_port} 2\n"
        f"sentinel down-after-milliseconds store {takeover_ms}\n"
        "sentinel failover-timeout store 5000\n"
    )
    with _kept([executable, str(configuration), "--sentinel"], directory):
        _await(lambda: _ask_port(port, "PING") == b"+PONG\r\n", directory)
        yield port


@contextmanager
def _kept(command: list[str], directory: Path) -> Iterator[int]:
    process = subprocess.Popen(
        ["sh", "-c", _KEEPER, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "LOG": str(directory / "log")},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        yield int(process.stdout.readline())
        process.stdin.close()
        process.wait(_END_S)


def _await(condition: Callable[[], bool], directory: Path) -> None:
    """Wait for a server to begin; that it does not is said in the words of its log."""
    try:
        until(condition)
    except AssertionError as error:
        raise AssertionError((directory / "log").read_text(errors="replace")[-2000:]) from error


def _ask_port(port: int, *words: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        return answer(connection, *words)
