"""A program in place of the embedded server: it says for a while that it loads its data, and then that it is there."""

import sys
from pathlib import Path

_TEXT = """#!{python}
import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[sys.argv.index("--unixsocket") + 1])
listener.listen()
began = time.monotonic()
while True:
    connection, _ = listener.accept()
    asked = connection.recv(4096)
    if not {says}:
        time.sleep(60)
    elif asked.startswith(b"INFO"):
        connection.sendall(b"$26\\r\\nloading_loaded_perc:12.34\\r\\n\\r\\n")
    elif time.monotonic() - began < {loading_s}:
        connection.sendall(b"-LOADING the server is loading the dataset in memory\\r\\n")
    else:
        connection.sendall(b"+PONG\\r\\n")
    connection.close()
"""


def loading_server(directory: Path, *, loading_s: float, says: bool = True) -> str:
    """Return the path of one that loads so long; unless it *says* so, it never says anything."""
    executable = directory / "loading-server"
    executable.write_text(_TEXT.format(python=sys.executable, loading_s=loading_s, says=says))
    executable.chmod(0o700)
    return str(executable)
