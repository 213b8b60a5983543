"""Runs the fast tests on each other supported Python that is present, and names those that are not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13")
FAST = ("tests/domain", "tests/matrix", "tests/clients", "tests/rpc")
ROOT = Path(__file__).resolve().parent.parent


def interpreter(version: str) -> str | None:
    """Return a Python of *version* that starts, or None; a shim of a version manager may be there and not start."""
    candidates = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates += [str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))]
    for candidate in candidates:
        if (
            candidate
            and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            return candidate
    return None


def test(version: str, python: str) -> int:
    """Install the project for *python* in an environment of its own and run the fast tests there."""
    venv = ROOT / f".venv-{version}"
    if not venv.exists():
        subprocess.run([python, "-m", "venv", venv], check=True)
    pip = [venv / "bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "pip>=25.1"], check=True)
    constraints = ["--constraint", ROOT / "constraints.txt"]
    subprocess.run(
        [*pip, *constraints, "--editable", f"{ROOT}[demo]", "--group", f"{ROOT / 'pyproject.toml'}:dev"],
        check=True,
    )
    command = [venv / "bin/python", "-m", "pytest", "-q", "-n", "2", "-m", "not long and not interop", *FAST]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    """Return 0 if every Python that is present passed."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    failed = []
    for version in VERSIONS:
        if version == own:
            continue
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: not present, not tested", flush=True)
            continue
        print(f"Python {version}: {python}", flush=True)
        if test(version, python):
            failed.append(version)
    if failed:
        print(f"failed on Python {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
