"""What the chart tells the service is what the service understands."""

import json
import os
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from partialstate_service.settings import PREFIX, Settings, load_settings
from support.helm_chart import CHART, SAMPLES, Release, rendered, sample, sample_values

FILES = "/etc/matrix-partial-state/"


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """Load the settings of a pod's container as the service in it would."""

    def load(release: Release, container) -> Settings:
        for name in os.environ:
            if name.startswith(PREFIX):
                monkeypatch.delenv(name)
        for name, value in release.environment(container).items():
            monkeypatch.setenv(name, value)
        assert os.environ["PARTIALSTATE_CONFIG"] == f"{FILES}config.yaml"
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(release.settings_file()))
        monkeypatch.setenv("PARTIALSTATE_CONFIG", str(path))
        return load_settings()

    return load


def service_containers(release: Release):
    return [pod["spec"]["containers"][0] for pod in release.service_pods()]


def test_the_service_accepts_its_settings(release, loaded):
    for container in service_containers(release):
        settings = loaded(release, container)
        assert settings.server_name == "example.org"
        assert container["args"] == ["serve"]


def test_each_deployment_has_a_role_of_its_own(release):
    roles = [release.environment(container)["PARTIALSTATE_ROLE"] for container in service_containers(release)]
    assert sorted(roles) in (["all"], ["api", "resync"])
    assert roles == [container["name"] for container in service_containers(release)]


def test_the_service_listens_where_the_services_point(release, loaded):
    for container in service_containers(release):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        settings = loaded(release, container)
        assert settings.listen.endswith(f":{ports['grpc']}")
        if settings.metrics_listen is not None:
            assert settings.metrics_listen.endswith(f":{ports['metrics']}")
        assert ("metrics" in ports) == (settings.metrics_listen is not None)


def test_every_file_that_a_setting_names_is_mounted(release, loaded):
    for pod in release.service_pods():
        (files,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "files")
        mounted = {
            FILES + item["path"]
            for source in files["projected"]["sources"]
            for kind in source.values()
            for item in kind["items"]
        }
        settings = loaded(release, pod["spec"]["containers"][0])
        named = {str(value) for value in settings.shown().values() if str(value).startswith(FILES)}
        if settings.store_url is not None:
            named |= set(
                parse_qs(urlsplit(settings.store_url.get_secret_value()).query).get("ssl_ca_certs", ())
            )
        assert named <= mounted
        assert named | {f"{FILES}config.yaml"} == mounted, "nothing is mounted in vain"


@pytest.mark.parametrize(
    "name", [name for name in SAMPLES if sample(name).values["store"]["kind"] == "bundled"]
)
def test_the_bundled_store_is_reached_by_its_service_with_its_password(name, loaded):
    release = sample(name)
    service = release.one("Service", "-store")
    (store,) = release.one("StatefulSet", "-store")["spec"]["template"]["spec"]["containers"]
    for container in service_containers(release):
        settings = loaded(release, container)
        assert settings.store_url is not None
        url = urlsplit(settings.store_url.get_secret_value())
        assert url.hostname == service["metadata"]["name"]
        assert url.port == service["spec"]["ports"][0]["port"]
        assert url.password == release.environment(store)["STORE_PASSWORD"]


def test_settings_of_the_operator_reach_the_service(loaded):
    release = sample("scaled")
    settings = loaded(release, service_containers(release)[0])
    assert settings.errcode == "stable"
    assert settings.federation_key_servers == ("matrix.org",)
    assert settings.max_send_join_bytes == 512 * 1024 * 1024


def test_the_schema_reserves_exactly_the_settings_that_the_chart_makes():
    schema = json.loads((CHART / "values.schema.json").read_text())
    reserved = set(schema["properties"]["settings"]["propertyNames"]["not"]["enum"])
    made = {"store_url", "role"}
    for name in SAMPLES:
        values = sample_values(name) | {"settings": {}}
        made |= set(rendered(values).settings_file())
    assert reserved == made


def test_the_schema_reserves_only_settings_that_there_are():
    schema = json.loads((CHART / "values.schema.json").read_text())
    reserved = set(schema["properties"]["settings"]["propertyNames"]["not"]["enum"])
    assert reserved <= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("value", "setting"),
    [("drainSeconds", "drain_grace_s"), ("maxConnectionAgeSeconds", "max_connection_age_s")],
)
def test_what_the_chart_lets_through_is_not_refused_by_the_service(value, setting):
    schema = json.loads((CHART / "values.schema.json").read_text())
    allowed = schema["properties"]["lifecycle"]["properties"][value]
    bounds = Settings.model_json_schema()["properties"][setting]
    assert allowed["maximum"] == bounds["maximum"]
