"""The parent process of the embedded server: it ends the server when we end, however we end.

A program of its own that needs the standard library only; `embedded.py` runs it by its path. It holds the read end of
a pipe to the service: end of file, also by SIGKILL of the service, stops the server (SHUTDOWN by SIGTERM, SIGKILL after a
grace). A server that dies by itself is started again on the same data.

The lock on the data directory is an open file that the server inherits, so it is held until the last of both is gone.

Usage: supervisor.py DATA_DIR SOCKET GRACE_S START_TIMEOUT_S SERVER [ARGUMENT...]
Prints one JSON line when the server answers ({"pid": …}), or when it cannot be started ({"error": …}); before, now and
then, that it loads its data, and how much of it is loaded ({"loading": "12.34 %"}).
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_LOCK_WAIT_S = 2.0
_RESTART_PAUSE_S = 0.2
_LONGEST_RESTART_PAUSE_S = 5.0
_POLL_S = 0.02
_TELL_LOADING_S = 10.0


class RefusedError(Exception):
    """The server cannot be started; the text says why and what to do."""


def main(arguments: list[str]) -> int:
    """Run the server until standard input ends."""
    data_dir, server_socket = Path(arguments[0]), arguments[1]
    grace_s, start_timeout_s, command = float(arguments[2]), float(arguments[3]), arguments[4:]
    os.umask(0o077)  # what the server writes is nobody else's business
    wakeups, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    stopping: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    server: subprocess.Popen[bytes] | None = None
    try:
        lock_file = lock(data_dir, server_socket, grace_s)
        server = start(command, data_dir, lock_file)
        await_ready(server, server_socket, start_timeout_s, data_dir)
        report({"pid": server.pid})
        pause_s = _RESTART_PAUSE_S
        while not stopping:
            readable, _, _ = select.select([sys.stdin, wakeups], [], [])
            if wakeups in readable:
                os.read(wakeups, 4096)
            if sys.stdin in readable and not os.read(sys.stdin.fileno(), 4096):
                break
            if server.poll() is not None and not stopping:
                # Let the pipe end the pause: nobody wants a server whose service has gone meanwhile.
                if select.select([sys.stdin], [], [], pause_s)[0]:
                    break
                pause_s = min(2 * pause_s, _LONGEST_RESTART_PAUSE_S)
                server = start(command, data_dir, lock_file)
    except RefusedError as error:
        report({"error": str(error)})
        return 1
    finally:
        if server is not None:
            stop(server, grace_s)
    return 0


def lock(data_dir: Path, server_socket: str, grace_s: float) -> int:
    """Return the locked file of *data_dir*, or raise RefusedError if somebody else uses it.

    A predecessor that is being stopped is waited for; a server that a killed supervisor left behind is stopped.
    """
    file = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            break
        lines = os.pread(file, 4096, 0).decode(errors="replace").splitlines()
        service, supervisor, its_socket = [*lines, "", "", ""][:3]
        if not is_alive(supervisor) and not is_alive(service) and its_socket:
            shut_down(its_socket)
        wait_s = _LOCK_WAIT_S if is_alive(service) else _LOCK_WAIT_S + grace_s
        if time.monotonic() - began > wait_s:
            raise RefusedError(
                f"the data directory {data_dir} is in use by another instance (process {service or 'unknown'}): "
                "stop that one first, or choose another data directory"
            )
        time.sleep(_POLL_S)
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getppid()}\n{os.getpid()}\n{server_socket}\n".encode(), 0)
    return file


def is_alive(process: str) -> bool:
    """Whether there is a process with this id."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def start(command: list[str], data_dir: Path, lock_file: int) -> subprocess.Popen[bytes]:
    """Start the server; its own words go to `server.log`."""
    with (data_dir / "server.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock_file,), cwd=data_dir
        )


def await_ready(
    server: subprocess.Popen[bytes], server_socket: str, timeout_s: float, data_dir: Path
) -> None:
    """Return once the server answers, or raise RefusedError with the end of its log.

    A server that says that it loads its data is given all the time that this takes: it would begin anew after a restart.
    """
    last_heard = told = time.monotonic()
    while (answer := ask(server_socket, b"PING\r\n")) != b"+PONG\r\n":
        if answer.startswith(b"-LOADING"):
            last_heard = time.monotonic()
            if last_heard - told > _TELL_LOADING_S:
                told = last_heard
                report({"loading": loaded(server_socket)})
        ended = server.poll() is not None
        if ended or time.monotonic() - last_heard > timeout_s:
            log = (data_dir / "server.log").read_text(errors="replace")[-2000:]
            what = f"ended with {server.returncode}" if ended else f"did not answer within {timeout_s:g} s"
            raise RefusedError(f"the embedded server {what}: {log}")
        if select.select([sys.stdin], [], [], _POLL_S)[0]:
            raise RefusedError("the service has ended")


def loaded(server_socket: str) -> str:
    """Return how much of its data a server has loaded, as far as it says."""
    for line in ask(server_socket, b"INFO persistence\r\n").decode(errors="replace").splitlines():
        if line.startswith("loading_loaded_perc:"):
            return f"{line.partition(':')[2]} %"
    return "unknown"


def ask(server_socket: str, request: bytes) -> bytes:
    """Return the server's answer, or nothing."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(server_socket)
            connection.sendall(request)
            return connection.recv(4096)
    except OSError:
        return b""


def shut_down(server_socket: str) -> None:
    """Ask a server that nobody looks after to end."""
    ask(server_socket, b"SHUTDOWN\r\n")


def stop(server: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the server; it writes what it still has to."""
    server.terminate()
    try:
        server.wait(grace_s)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def report(line: dict[str, object]) -> None:
    """Tell the service; it may be gone."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(line), flush=True)  # noqa: T201 - the pipe to the service


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
