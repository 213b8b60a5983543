"""The bundled store, and the embedded one, keep what they are given."""

import signal
import socket
from pathlib import Path

import pytest
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.chart_processes import bundled_store, valkey_configuration
from support.helm_chart import SAMPLES, changed, rendered, sample, sample_values
from support.loopback_ports import free_port

BUNDLED = [name for name in SAMPLES if sample(name).values["store"]["kind"] == "bundled"]
PASSWORD = "a-password-of-the-store"


def configuration(name: str) -> dict[str, str]:
    return valkey_configuration(sample(name))


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def store(tmp_path, port):
    with bundled_store(sample("scaled"), tmp_path, port, PASSWORD) as process:
        yield process


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_store_never_evicts(name):
    assert configuration(name)["maxmemory-policy"] == "noeviction"


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_store_syncs_every_write(name):
    assert configuration(name)["appendonly"] == "yes"
    assert configuration(name)["appendfsync"] == "always"


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_stores_data_outlives_its_pod(name):
    store = sample(name).one("StatefulSet", "-store")["spec"]
    (claim,) = store["volumeClaimTemplates"]
    (container,) = store["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == configuration(name)["dir"]


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_stores_data_outlives_the_release(name):
    policy = sample(name).one("StatefulSet", "-store")["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert policy == {"whenDeleted": "Retain", "whenScaled": "Retain"}


@pytest.mark.parametrize("name", BUNDLED)
def test_there_is_one_bundled_store(name):
    """Two pods would be two stores."""
    assert sample(name).one("StatefulSet", "-store")["spec"]["replicas"] == 1


def test_the_embedded_stores_data_outlives_the_release():
    claim = sample("all-embedded").one("PersistentVolumeClaim", "-data")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_embedded_stores_data_is_where_the_service_keeps_it():
    release = sample("all-embedded")
    (pod,) = release.service_pods()
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["data"] == release.settings_file()["data_dir"]


@pytest.mark.parametrize(("given", "rendered_as"), [("", None), ("-", ""), ("fast", "fast"), ("007", "007")])
def test_a_dash_is_no_storage_class_and_nothing_is_the_clusters(given, rendered_as):
    for name, kind in (("all-embedded", "PersistentVolumeClaim"), ("minimal", "StatefulSet")):
        values = changed(sample_values(name), {"store": {"persistence": {"storageClassName": given}}})
        (found,) = rendered(values).of_kind(kind)
        claim = (
            found["spec"]
            if kind == "PersistentVolumeClaim"
            else found["spec"]["volumeClaimTemplates"][0]["spec"]
        )
        assert claim.get("storageClassName") == rendered_as


def test_only_a_store_of_its_own_is_a_reason_for_a_volume(release):
    claims = [*release.of_kind("PersistentVolumeClaim"), *release.of_kind("StatefulSet")]
    assert bool(claims) == (release.values["store"]["kind"] != "external")


@pytest.mark.usefixtures("store")
async def test_the_service_entrusts_its_rooms_to_the_bundled_store(tmp_path, port):
    settings = StoreSettings(data_dir=tmp_path, url=f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
    async with open_store(settings) as opened:
        assert opened.mirror.rooms == {}


@pytest.mark.usefixtures("store")
def test_the_bundled_store_wants_its_password(port):
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100).startswith(b"-NOAUTH")
        connection.sendall(f"AUTH {PASSWORD}\r\n".encode())
        assert connection.recv(100) == b"+OK\r\n"


def test_no_command_line_shows_the_stores_password(store):
    assert PASSWORD.encode() not in Path(f"/proc/{store.pid}/cmdline").read_bytes()


def test_the_bundled_store_ends_in_order_when_its_pod_does(store):
    store.send_signal(signal.SIGTERM)
    assert store.wait(20) == 0
