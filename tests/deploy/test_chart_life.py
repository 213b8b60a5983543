"""Pods start, answer probes, scale and end as the service needs it."""

from partialstate_service.rpc.health import READINESS
from partialstate_service.store.settings import StoreSettings
from support.helm_chart import changed, rendered, sample, sample_values

EMBEDDED_STOP_S = StoreSettings.__dataclass_fields__["stop_grace_s"].default
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def pre_stop_s(container) -> int:
    return container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)


def test_the_grace_period_is_longer_than_the_drain(release):
    drain_s = release.settings_file()["drain_grace_s"]
    for pod in release.service_pods():
        (container,) = pod["spec"]["containers"]
        needed_s = pre_stop_s(container) + drain_s + EMBEDDED_STOP_S
        assert pod["spec"]["terminationGracePeriodSeconds"] > needed_s


def test_a_pod_waits_before_it_drains_as_long_as_it_is_told(release):
    for pod in release.service_pods():
        assert pre_stop_s(pod["spec"]["containers"][0]) == release.values["lifecycle"]["preStopSeconds"]


def test_every_container_is_probed(release):
    for container in release.containers():
        assert "livenessProbe" in container
        assert "readinessProbe" in container


def test_the_service_is_probed_where_it_tells_its_health_without_tls(release):
    """The kubelet's gRPC probe speaks no TLS."""
    settings = release.settings_file()
    probed = settings["health_listen" if "tls_cert_file" in settings else "listen"]
    for pod in release.service_pods():
        (container,) = pod["spec"]["containers"]
        assert {container[probe]["grpc"]["port"] for probe in PROBES} == {int(probed.rpartition(":")[2])}


def test_health_is_told_beside_tls_only(release):
    settings = release.settings_file()
    assert ("health_listen" in settings) == ("tls_cert_file" in settings)


def test_only_readiness_depends_on_the_store(release):
    """A restart would heal no store."""
    for pod in release.service_pods():
        (container,) = pod["spec"]["containers"]
        asked = {probe: container[probe]["grpc"].get("service", "") for probe in PROBES}
        assert asked == dict.fromkeys(PROBES, "") | {"readinessProbe": READINESS}


def test_a_pod_may_wait_for_its_store_longer_than_the_service_does(release):
    start_timeout_s = StoreSettings.__dataclass_fields__["start_timeout_s"].default
    for pod in release.service_pods():
        probe = pod["spec"]["containers"][0]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] > start_timeout_s


def test_a_rollout_never_lowers_the_number_of_pods_that_answer(release):
    for deployment in release.of_kind("Deployment"):
        strategy = deployment["spec"]["strategy"]
        if release.values["store"]["kind"] == "embedded":
            assert strategy == {"type": "Recreate"}
        else:
            assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_a_disruption_budget_lets_nodes_be_drained(release):
    for budget in release.of_kind("PodDisruptionBudget"):
        assert "minAvailable" not in budget["spec"]
        assert budget["spec"]["maxUnavailable"] != 0


def test_every_deployment_has_a_disruption_budget_unless_told_otherwise(release):
    expected = {
        deployment["metadata"]["name"]
        for deployment in release.of_kind("Deployment")
        if release.values[deployment["metadata"]["name"].rpartition("-")[2]]["podDisruptionBudget"]["enabled"]
    }
    assert {budget["metadata"]["name"] for budget in release.of_kind("PodDisruptionBudget")} == expected


def test_an_autoscaler_and_a_deployment_do_not_both_set_the_replicas(release):
    scaled = {
        scaler["spec"]["scaleTargetRef"]["name"] for scaler in release.of_kind("HorizontalPodAutoscaler")
    }
    for deployment in release.of_kind("Deployment"):
        assert ("replicas" in deployment["spec"]) != (deployment["metadata"]["name"] in scaled)


def test_what_is_scaled_by_cpu_requests_cpu():
    release = sample("scaled")
    (scaler,) = release.of_kind("HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "demo-matrix-partial-state-api"
    (container,) = release.one("Deployment", "-api")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "1"


def test_changed_settings_make_new_pods():
    def annotations(values):
        return [pod["metadata"]["annotations"] for pod in rendered(values).service_pods()]

    values = sample_values("minimal")
    before = annotations(values)
    assert all(
        old["checksum/settings"] != new["checksum/settings"]
        for old, new in zip(
            before, annotations(changed(values, {"settings": {"log_level": "debug"}})), strict=True
        )
    )
    assert before == annotations(values)
