"""The settings, as an operator gives them."""

import json
import os
import subprocess
import sys
from ipaddress import ip_network

import pytest
from partialstate_service.__main__ import main
from partialstate_service.app import server_config
from partialstate_service.domain.checks import UnableSpelling
from partialstate_service.matrix.keys import parse_signing_key
from partialstate_service.metrics import Metrics
from partialstate_service.rpc.server import api_server
from partialstate_service.settings import PREFIX, InvalidSettingsError, Settings, is_local, load_settings


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The two settings that have no default, and none of whoever runs the tests."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PARTIALSTATE_SERVER_NAME", "us.example")
    monkeypatch.setenv("PARTIALSTATE_SIGNING_KEY_PATH", "signing.key")


@pytest.fixture
def config(tmp_path):
    """Write a settings file."""

    def write(text: str):
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        return path

    return write


def refusal(config=None) -> str:
    with pytest.raises(InvalidSettingsError) as refused:
        load_settings(config)
    return str(refused.value)


def test_a_name_and_a_key_are_enough():
    settings = load_settings()
    assert settings.server_name == "us.example"
    assert settings.store_url is None
    assert settings.errcode is UnableSpelling.UNSTABLE
    assert is_local(settings.listen)


def test_the_environment_overrides_the_file(config, monkeypatch):
    path = config("errcode: stable\nlisten: 127.0.0.1:1\n")
    monkeypatch.setenv("PARTIALSTATE_LISTEN", "127.0.0.1:2")
    settings = load_settings(path)
    assert settings.errcode is UnableSpelling.STABLE
    assert settings.listen == "127.0.0.1:2"


def test_the_environment_may_name_the_file(config, monkeypatch):
    monkeypatch.setenv("PARTIALSTATE_CONFIG", str(config("resync_workers: 3\n")))
    assert load_settings().resync_workers == 3


def test_lists_are_words_in_the_environment_and_lists_in_the_file(config, monkeypatch):
    path = config("federation_key_servers: [matrix.org, b.example]\n")
    monkeypatch.setenv("PARTIALSTATE_FEDERATION_ALLOWED_NETWORKS", "127.0.0.0/8, fd00::/8")
    settings = load_settings(path)
    assert settings.federation_key_servers == ("matrix.org", "b.example")
    assert settings.federation_allowed_networks == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize("name", ["STORE_URL", "METRICS_LISTEN", "FEDERATION_CA_FILE", "TOKEN_FILE"])
def test_an_empty_optional_setting_is_none(name, monkeypatch):
    monkeypatch.setenv(PREFIX + name, "")
    assert getattr(load_settings(), name.lower()) is None


def test_an_unknown_variable_is_an_error(monkeypatch):
    monkeypatch.setenv("PARTIALSTATE_SERVERNAME", "typo")
    assert refusal() == "PARTIALSTATE_SERVERNAME: no such setting"


def test_an_unknown_key_of_the_file_is_an_error(config):
    assert "servername" in refusal(config("servername: typo\n"))


@pytest.mark.parametrize("text", ["- a list", "'text'", "{", "1: 2"])
def test_a_file_that_is_no_mapping_is_an_error(config, text):
    assert "settings.yaml" in refusal(config(text))


def test_a_missing_file_is_an_error(tmp_path):
    assert "none.yaml" in refusal(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVER_NAME", "not a name"),
        ("LISTEN", "7790"),
        ("LISTEN", "127.0.0.1:70000"),
        ("ERRCODE", "M_UNABLE"),
        ("ROLE", "worker"),
        ("FEDERATION_ALLOWED_NETWORKS", "127.0.0.1/8"),
        ("FEDERATION_KEY_SERVERS", "https://matrix.org"),
        ("RESYNC_WORKERS", "-1"),
        ("MAX_SEND_JOIN_BYTES", "0"),
        ("LOG_LEVEL", "loud"),
        ("LISTEN", "unix:"),
        ("SIGNING_TARGET", "homeserver.example"),
        ("SIGNING_TARGET", "homeserver.example:0"),
        ("SIGNING_TARGET", ":7791"),
        ("SIGNING_TARGET", "unix:"),
        ("DATA_DIR", ""),
        ("MAX_CONNECTION_AGE_S", "1e-9"),
        ("MAX_CALLS_PER_SECOND_PER_CLIENT", "1e-320"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_setting(monkeypatch, name, value):
    monkeypatch.setenv(PREFIX + name, value)
    text = refusal()
    assert text.startswith(name.lower())
    assert "\n" not in text


NUMBERS = [name for name, field in Settings.model_fields.items() if type(field.default) in (int, float)]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "1" + "0" * 400, str(2**31), "-1"])
@pytest.mark.parametrize("name", [*NUMBERS, "store_acknowledging_replicas"])
def test_no_number_is_without_bounds(monkeypatch, name, value):
    """What the service gives it to, such as an option of 32 bits or a timer, would fail with it later."""
    if value == str(2**31) and name.startswith("max_call"):
        value = "1000000001"
    monkeypatch.setenv(PREFIX + name.upper(), value)
    text = refusal()
    assert text.startswith(f"{name}: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_message_bytes", 2**31 - 1),
        ("max_send_join_bytes", 2**31 - 1),
        ("max_connection_age_s", 7 * 24 * 3600),
        ("drain_grace_s", 3600),
        ("max_calls_per_second_per_client", 1e9),
    ],
)
def test_the_largest_number_is_allowed(monkeypatch, name, value):
    monkeypatch.setenv(PREFIX + name.upper(), str(value))
    assert getattr(load_settings(), name) == value


async def test_grpc_takes_the_largest_numbers(monkeypatch):
    monkeypatch.setenv("PARTIALSTATE_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("PARTIALSTATE_MAX_MESSAGE_BYTES", str(2**31 - 1))
    monkeypatch.setenv("PARTIALSTATE_MAX_CONNECTION_AGE_S", "604800")
    monkeypatch.setenv("PARTIALSTATE_DRAIN_GRACE_S", "3600")
    async with api_server(server_config(load_settings()), Metrics()) as server:
        await server.start()
        await server.drain()


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        ({"SIGNING_KEY_PATH": ""}, "signing_key_path"),
        ({"SIGNING_TARGET": "127.0.0.1:1"}, "signing_key_path"),
        ({"TLS_CERT_FILE": "cert.pem"}, "tls_key_file"),
        ({"TLS_CLIENT_CA_FILE": "ca.pem"}, "tls_client_ca_file"),
        ({"LISTEN": "0.0.0.0:7790"}, "allow_insecure"),
        ({"LISTEN": "matrix.example:7790"}, "allow_insecure"),
        ({"LISTEN": "[::]:1", "TLS_CERT_FILE": "a", "TLS_KEY_FILE": "b"}, "tls_client_ca_file"),
        ({"SIGNING_KEY_PATH": "", "SIGNING_TARGET": "matrix.example:1"}, "signing_ca_file"),
        ({"METRICS_LISTEN": "unix:/run/metrics"}, "metrics_listen"),
        ({"ROLE": "resync", "SIGNING_KEY_PATH": ""}, "signing_key_path"),
        ({"ROLE": "resync", "RESYNC_WORKERS": "0"}, "resync_workers"),
    ],
)
def test_settings_must_agree(monkeypatch, wrong, mistake):
    for name, value in wrong.items():
        monkeypatch.setenv(PREFIX + name, value)
    assert mistake in refusal()


def test_only_who_answers_needs_no_signing_key(monkeypatch):
    monkeypatch.setenv("PARTIALSTATE_SIGNING_KEY_PATH", "")
    monkeypatch.setenv("PARTIALSTATE_ROLE", "api")
    assert not load_settings().resyncs


@pytest.mark.parametrize("name", ["ALLOW_INSECURE", "TOKEN_FILE"])
def test_beyond_loopback_needs_security_or_the_word_for_it(monkeypatch, name):
    monkeypatch.setenv("PARTIALSTATE_LISTEN", "[::]:7790")
    monkeypatch.setenv(PREFIX + name, "true")
    assert load_settings().listen == "[::]:7790"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/run/ps"])
def test_local_addresses(address):
    assert is_local(address)


def test_secrets_are_masked(monkeypatch):
    monkeypatch.setenv("PARTIALSTATE_STORE_URL", "redis://user:hunter2@store.example")
    monkeypatch.setenv("PARTIALSTATE_LOG_LEVEL", "loud")
    assert "hunter2" not in refusal()
    monkeypatch.setenv("PARTIALSTATE_LOG_LEVEL", "debug")
    settings = load_settings()
    assert "hunter2" not in json.dumps(settings.shown())
    assert "hunter2" not in repr(settings)


def test_every_setting_says_what_it_is():
    for name, field in Settings.model_fields.items():
        assert field.description, name


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "partialstate_service", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_config_prints_the_settings(tmp_path, monkeypatch):
    key = tmp_path / "signing.key"
    key.write_text("ed25519 a_test AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
    monkeypatch.setenv("PARTIALSTATE_SIGNING_KEY_PATH", str(key))
    done = run("check-config")
    assert done.returncode == 0, done.stderr
    assert "server_name: us.example" in done.stdout


def test_check_config_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTIALSTATE_SIGNING_KEY_PATH", str(tmp_path / "none.key"))
    missing = run("check-config")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "none.key" in missing.stderr
    monkeypatch.setenv("PARTIALSTATE_ERRCODE", "wrong")
    assert run("serve").returncode == 2


@pytest.mark.parametrize(
    ("name", "value", "mistake"),
    [
        ("FEDERATION_CA_FILE", "/no/such.pem", "federation_ca_file: /no/such.pem"),
        ("FEDERATION_CA_FILE", __file__, "federation_ca_file"),
        ("STORE_URL", "http://user:secret@store.example", "redis://"),
    ],
)
def test_check_config_finds_what_would_keep_the_service_from_starting(
    tmp_path, monkeypatch, name, value, mistake
):
    monkeypatch.setenv("PARTIALSTATE_SIGNING_KEY_PATH", str(tmp_path / "signing.key"))
    assert main(["generate-key", str(tmp_path / "signing.key")]) == 0
    monkeypatch.setenv(PREFIX + name, value)
    done = run("check-config")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert mistake in line
    assert "secret" not in line


def test_a_generated_key_is_read_and_never_overwritten(tmp_path, capsys):
    path = tmp_path / "keys" / "signing.key"
    assert main(["generate-key", str(path)]) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    written = path.read_text()
    assert parse_signing_key(written).key_id.startswith("ed25519:a_")
    assert main(["generate-key", str(path)]) == 2
    assert path.read_text() == written
    assert "was not changed" in capsys.readouterr().err


SIGNED_ELSEWHERE = {"SIGNING_KEY_PATH": "", "SIGNING_TARGET": "127.0.0.1:1"}


@pytest.mark.parametrize("command", ["check-config", "serve"])
@pytest.mark.parametrize(
    ("missing", "others"),
    [
        ("SIGNING_KEY_PATH", {}),
        ("SIGNING_CA_FILE", SIGNED_ELSEWHERE),
        ("SIGNING_TOKEN_FILE", SIGNED_ELSEWHERE),
        ("TOKEN_FILE", SIGNED_ELSEWHERE),
        ("TLS_CERT_FILE", SIGNED_ELSEWHERE | {"TLS_KEY_FILE": __file__}),
        ("TLS_KEY_FILE", SIGNED_ELSEWHERE | {"TLS_CERT_FILE": __file__}),
        ("TLS_CLIENT_CA_FILE", SIGNED_ELSEWHERE | {"TLS_CERT_FILE": __file__, "TLS_KEY_FILE": __file__}),
        ("FEDERATION_CA_FILE", SIGNED_ELSEWHERE),
    ],
)
def test_a_missing_file_is_told_in_one_line_before_the_store_is_opened(
    tmp_path, monkeypatch, command, missing, others
):
    """A store that stays away would be waited for, and the file missed afterwards only."""
    monkeypatch.setenv("PARTIALSTATE_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("PARTIALSTATE_STORE_URL", f"unix://{tmp_path}/absent.sock")
    for name, value in {**others, missing: str(tmp_path / "absent.pem")}.items():
        monkeypatch.setenv(PREFIX + name, value)
    done = run(command)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{missing.lower()}: {tmp_path}/absent.pem: ")


def test_a_missing_file_leaves_no_data_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTIALSTATE_SIGNING_KEY_PATH", str(tmp_path / "none.key"))
    monkeypatch.setenv("PARTIALSTATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PARTIALSTATE_LISTEN", "127.0.0.1:0")
    assert run("serve").returncode == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("files", "mistake"),
    [
        ({"TOKEN_FILE": "name:unknown-role secret-token"}, "line 1"),
        ({"TOKEN_FILE": "name:frontend"}, "tls_client_ca_file"),
        ({"TLS_CERT_FILE": "no certificate", "TLS_KEY_FILE": "no key"}, "certificate chain"),
    ],
)
def test_credentials_that_cannot_be_used_are_said_in_one_line(tmp_path, monkeypatch, files, mistake):
    monkeypatch.setenv("PARTIALSTATE_ROLE", "api")
    monkeypatch.setenv("PARTIALSTATE_LISTEN", "127.0.0.1:0")
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        monkeypatch.setenv(PREFIX + name, str(tmp_path / name))
    for command in ("check-config", "serve"):
        done = run(command)
        assert (done.returncode, done.stdout) == (1, "")
        [line] = done.stderr.splitlines()
        assert str(tmp_path) in line
        assert mistake in line
        assert "secret-token" not in line
