"""Sentinels with their servers, and clusters, as real processes on loopback; each ends with the block, or with us."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.store_server import ask

# The server ends when our end of its standard input does, whatever became of us.
_KEEPER = '"$@" >"$LOG" 2>&1 & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null; wait'
SLOTS = 16_384
PRIMARIES = 3
TAKEOVER_MS = 4_000
_DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory-policy": "noeviction",
    "min-replicas-to-write": "1",
    "min-replicas-max-lag": "3",
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

    @property
    def socket(self) -> str:
        """The socket of the server that has the registry at first."""
        return self.nodes[0].socket

    def primaries(self) -> Sequence[Process]:
        """Return those that are primaries now."""
        return [node for node in self.nodes if node.role() == b"master"]

    def ask_all(self, *words: str) -> Sequence[bytes]:
        """Return the raw answers of all primaries to one command."""
        return [node.ask(*words) for node in self.primaries()]


@contextmanager
def sentinel_store(executable: str, directory: Path) -> Iterator[Deployment]:
    """Run one primary, two replicas and three Sentinels."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(_server(executable, directory / f"node{i}", _DURABLE)) for i in range(3)]
        for replica in nodes[1:]:
            replica.ask("REPLICAOF", "127.0.0.1", str(nodes[0].port))
        sentinels = [
            stack.enter_context(_sentinel(executable, directory / f"sentinel{i}", nodes[0].port))
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
def cluster_store(executable: str, directory: Path) -> Iterator[Deployment]:
    """Run three primaries with a replica each, and one more for the first one, which has the registry's slot."""
    options = _DURABLE | {
        "cluster-enabled": "yes",
        "cluster-node-timeout": str(TAKEOVER_MS),
        "cluster-replica-validity-factor": "0",
    }
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(_server(executable, directory / f"node{i}", options))
            for i in range(2 * PRIMARIES + 1)
        ]
        for node in nodes[1:]:
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", str(node.port))
        # The slot of {registry} is 3,850.
        bounds = [(SLOTS * i // PRIMARIES, SLOTS * (i + 1) // PRIMARIES) for i in range(PRIMARIES)]
        for node, (first, end) in zip(nodes, bounds, strict=False):
            assert node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1)) == b"+OK\r\n"
        for node in nodes:
            until(lambda node=node: b"cluster_known_nodes:7" in node.ask("CLUSTER", "INFO"))
        for primary, replica in zip([*nodes[:PRIMARIES], nodes[0]], nodes[PRIMARIES:], strict=True):
            name = primary.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode()
            until(lambda replica=replica, name=name: replica.ask("CLUSTER", "REPLICATE", name) == b"+OK\r\n")
        for node in nodes:
            until(lambda node=node: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"))
        for node in nodes[:PRIMARIES]:
            until(lambda node=node: b"state=online" in node.ask("INFO", "replication"))
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        yield Deployment(f"redis+cluster://{hosts}", nodes)


def until(condition, timeout_s: float = 30) -> None:
    """Wait until something outside of us has become true."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, "it never came to be"
        time.sleep(0.05)


@contextmanager
def _server(executable: str, directory: Path, options: dict[str, str]) -> Iterator[Process]:
    port, path = _free_port(), directory / "s"
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
        until(path.exists)
        yield Process(pid, port, str(path))


@contextmanager
def _sentinel(executable: str, directory: Path, primary_port: int) -> Iterator[int]:
    port = _free_port()
    directory.mkdir(parents=True)
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor store 127.0.0.1 {primary_port} 2\n"
        f"sentinel down-after-milliseconds store {TAKEOVER_MS}\n"
        "sentinel failover-timeout store 5000\n"
    )
    with _kept([executable, str(configuration), "--sentinel"], directory):
        until(lambda: _listens(port))
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
        process.wait(20)


def _free_port() -> int:
    # The bus of a cluster listens 10,000 above.
    for port in range(21_000 + time.monotonic_ns() % 9_000, 40_000):
        try:
            for each in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ask_port(port: int, *words: str) -> bytes:
    request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request.encode())
        return connection.recv(65536)
