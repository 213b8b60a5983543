"""Generate the Python stubs of `partialstate.v1` into clients/, or check that they are up to date.

    python protos/generate.py            write the stubs
    python protos/generate.py --check    exit with 1 and name the files if a fresh generation differs

The stubs are committed, so that nobody needs a protobuf compiler to use or to build the project. The generator is
grpcio-tools 1.74: stubs of a newer one would force a newer protobuf runtime on every frontend.
"""

import argparse
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).parent
CLIENTS = PROTOS.parent / "clients"
PACKAGE = Path("partialstate/v1")
GENERATOR = "1.74."


def generate(target: Path) -> None:
    """Write the stubs of every proto below *target*, or exit with the compiler's message."""
    found = metadata.version("grpcio-tools")
    if not found.startswith(GENERATOR):
        sys.exit(f"grpcio-tools {found} found, {GENERATOR}* needed: install the dev dependency group")
    # protoc finds its plugins on PATH; the environment's own need not be there.
    plugins = [
        f"--plugin={name}={Path(sys.executable).with_name(name)}"
        for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    well_known = resources.files("grpc_tools") / "_proto"
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / PACKAGE).glob("*.proto"))
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={well_known}",
            *plugins,
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            *sources,
        ]
    )
    if status:
        sys.exit(status)
    for name in messages_only(target):
        name.unlink()


def messages_only(target: Path) -> list[Path]:
    """Return the gRPC stubs of those protos that define no service: they are empty."""
    return [
        target / PACKAGE / f"{proto.stem}_pb2_grpc.{suffix}"
        for proto in (PROTOS / PACKAGE).glob("*.proto")
        for suffix in ("py", "pyi")
        if not proto.stem.endswith("_service")
        and (target / PACKAGE / f"{proto.stem}_pb2_grpc.{suffix}").exists()
    ]


def stubs_below(root: Path) -> dict[str, bytes]:
    """Return the generated files below *root* by name."""
    return {path.name: path.read_bytes() for path in sorted((root / PACKAGE).glob("*_pb2*"))}


def check() -> None:
    """Compare the committed stubs with fresh ones; exit with 1 and their names if they differ."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh, committed = stubs_below(Path(scratch)), stubs_below(CLIENTS)
    stale = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
    if stale:
        sys.exit(f"stubs are out of date, run `make protos`: {', '.join(stale)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Generate the stubs of partialstate.v1.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        check()
    else:
        generate(CLIENTS)
