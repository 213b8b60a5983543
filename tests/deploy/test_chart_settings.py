"""What the chart tells the service is what the service understands."""

import json
import os
from urllib.parse import parse_qs, urlsplit

import helm_python
import pytest
import yaml
from partialstate_service.domain.ids import InvalidIdError, parse_server_name
from partialstate_service.settings import PREFIX, Settings, load_settings
from partialstate_service.store.urls import UnsuitableStoreError, parse_store_url
from pydantic import ValidationError
from support.helm_chart import CHART, SAMPLES, Release, changed, rendered, sample, sample_values

FILES = "/etc/matrix-partial-state/"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


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


def test_the_schema_knows_exactly_the_settings_that_the_chart_does_not_make():
    made = {"store_url", "role"}
    for name in SAMPLES:
        values = sample_values(name) | {"settings": {}}
        made |= set(rendered(values).settings_file())
    assert set(SCHEMA["properties"]["settings"]["properties"]) == set(Settings.model_fields) - made


NUMBERS = (-1, 0, 1e-9, 0.001, 0.5, 1, 1000, 1001, 10**9, 10**9 + 1, 2**31 - 1, 2**31, 1e300)
VALUES = (*NUMBERS, True, "info", "stable", "loud", [], ["matrix.org"], ["fd00::/8"], ["10.0.0.0/8"], ["a b"])


@pytest.mark.parametrize("setting", SCHEMA["properties"]["settings"]["properties"])
def test_the_schema_and_the_service_agree_on_what_a_setting_may_be(setting, monkeypatch):
    """The chart is stricter only where the service takes one kind for another, such as true for 1."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    numeric = type(Settings.model_fields[setting].default) in (int, float)
    with helm_python.Chart.load(CHART) as chart:
        for value in VALUES:
            by_chart = accepted(
                lambda: chart.validate_schema(sample_values("minimal") | {"settings": {setting: value}}),  # noqa: B023
                helm_python.HelmError,
            )
            by_service = accepted(
                lambda: Settings(server_name="a", role="api", **{setting: value}),  # noqa: B023
                ValidationError,
            )
            exact = numeric and type(value) in (int, float)
            assert by_chart == by_service if exact else by_chart <= by_service, value


def accepted(act, refusal) -> bool:
    try:
        act()
    except refusal:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("example.org", True),
        ("example.org:8448", True),
        ("1.2.3.4:65535", True),
        ("[::1]:1", True),
        ("example.org:65536", False),
        ("https://example.org", False),
        ("example.org ", False),
        ("@user:example.org", False),
        ("a" * 256, False),
    ],
)
def test_the_schema_and_the_service_agree_on_server_names(name, is_one):
    with helm_python.Chart.load(CHART) as chart:
        values = sample_values("minimal") | {"serverName": name}
        assert accepted(lambda: chart.validate_schema(values), helm_python.HelmError) == is_one
    assert accepted(lambda: parse_server_name(name), InvalidIdError) == is_one


# The sample has a password of its own and an authority; these have neither.
URLS = [
    "redis://store.example",
    "redis://u:p%40w@store.example:1/3",
    "redis://:pw@[::1]:6380?db=2",
    "unix:///run/store.sock?db=1",
    "redis+sentinel://a,b:1/main/4?sentinel_username=u&sentinel_password=p",
    "redis+cluster://a,b:65535",
    "rediss://u:p@a?ssl_check_hostname=false",
    "http://SECRETS@a",
    "SECRETS@a",
    "redis://:SECRETS@SECRETS@a",
    "redis://u:1/SECRETS@a",
    "redis://u:1?SECRETS@a",
    "redis://a:0",
    "redis://a:65536",
    "redis://a:",
    "redis://a,b",
    "redis://a/1/2",
    "redis://a b",
    "redis+sentinel://a",
    "redis+cluster://a/1",
    "redis://a?timeout=5",
    "redis://a?ssl_check_hostname=false",
    "unix://run/store.sock",
]


@pytest.mark.parametrize("url", URLS)
def test_the_chart_and_the_service_agree_on_the_stores_url(url):
    values = changed(sample_values("all-external"), {"store": {"external": {"url": None}}})
    values = changed(values, {"store": {"external": {"url": {"value": url}}}})
    if accepted(lambda: parse_store_url(url), UnsuitableStoreError):
        rendered(values)
        return
    with pytest.raises(helm_python.HelmError, match=r"store\.external\.url\.value") as refused:
        rendered(values)
    assert "SECRETS" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "setting"),
    [("drainSeconds", "drain_grace_s"), ("maxConnectionAgeSeconds", "max_connection_age_s")],
)
def test_what_the_chart_lets_through_is_not_refused_by_the_service(value, setting):
    allowed = SCHEMA["properties"]["lifecycle"]["properties"][value]
    bounds = Settings.model_json_schema()["properties"][setting]
    assert allowed["maximum"] == bounds["maximum"]
