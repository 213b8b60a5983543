"""The compose file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from partialstate_service.settings import PREFIX, is_local, load_settings
from partialstate_service.store.settings import StoreSettings
from support.dockerfile import stages

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"


@pytest.fixture
def service():
    return yaml.safe_load(COMPOSE.read_text())["services"]["partialstate"]


@pytest.fixture
def settings(service, monkeypatch):
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{SERVER_NAME:\?[^}]*\}", "example.org", value))
    return load_settings()


def test_it_is_a_compose_file():
    checker = Path(sys.executable).with_name("check-jsonschema")
    subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", COMPOSE],
        check=True,
        timeout=30,
        stdout=subprocess.DEVNULL,
    )


def test_the_service_accepts_its_settings(settings):
    assert settings.server_name == "example.org"


def test_the_embedded_stores_data_is_in_a_volume(service, settings):
    assert settings.store_url is None
    image = stages(DEPLOY / "Dockerfile")[-1]
    assert any(step.name == "ENV" and "PARTIALSTATE_DATA_DIR=/data" in step.words for step in image)
    assert service["volumes"] == ["data:/data"]


def test_every_secret_is_where_its_setting_says(service, settings):
    named = {settings.signing_key_path, settings.token_file}
    assert named == {Path("/run/secrets") / name for name in service["secrets"]}


def test_the_grace_period_is_longer_than_the_drain_and_the_stop_of_the_store(service, settings):
    stop_s = StoreSettings.__dataclass_fields__["stop_grace_s"].default
    assert int(service["stop_grace_period"].removesuffix("s")) > settings.drain_grace_s + stop_s


def test_it_is_published_on_loopback_alone(service):
    (port,) = service["ports"]
    assert is_local(port.rpartition(":")[0])


def test_the_container_may_do_nothing_more(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
