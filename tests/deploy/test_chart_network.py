"""Who reaches whom."""

import pytest
from support.helm_chart import SAMPLES, sample

CONFINED = [name for name in SAMPLES if sample(name).values["networkPolicy"]["enabled"]]


def component(labels) -> str | None:
    return labels.get("app.kubernetes.io/component")


def policy(name: str, role: str):
    return sample(name).one("NetworkPolicy", f"-{role}")["spec"]


def test_frontends_have_one_address_and_one_for_each_pod(release):
    virtual, headless = release.one("Service", ""), release.one("Service", "-headless")
    assert virtual["spec"]["type"] == "ClusterIP"
    assert "clusterIP" not in virtual["spec"]
    assert headless["spec"]["clusterIP"] == "None"
    assert virtual["spec"]["selector"] == headless["spec"]["selector"]
    assert virtual["spec"]["ports"] == headless["spec"]["ports"]


def test_frontends_reach_the_pods_that_answer(release):
    selector = release.one("Service", "")["spec"]["selector"]
    (pod,) = (pod for pod in release.service_pods() if selector.items() <= pod["metadata"]["labels"].items())
    assert component(pod["metadata"]["labels"]) in {"api", "all"}


def test_nothing_is_reachable_from_outside_the_cluster(release):
    assert {service["spec"]["type"] for service in release.of_kind("Service")} == {"ClusterIP"}
    assert not release.of_kind("Ingress")


def test_there_are_no_policies_unless_asked_for(release):
    expected = len(release.workloads()) if release.values["networkPolicy"]["enabled"] else 0
    assert len(release.of_kind("NetworkPolicy")) == expected


def test_some_samples_are_confined():
    assert {"confined", "scaled"} <= set(CONFINED)


@pytest.mark.parametrize("name", CONFINED)
def test_every_pod_is_confined_both_ways(name):
    for found in sample(name).of_kind("NetworkPolicy"):
        assert sorted(found["spec"]["policyTypes"]) == ["Egress", "Ingress"]


@pytest.mark.parametrize("name", CONFINED)
def test_only_the_service_reaches_the_bundled_store(name):
    (rule,) = policy(name, "store")["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchExpressions"] == [
        {"key": "app.kubernetes.io/component", "operator": "In", "values": ["api", "resync"]}
    ]
    assert policy(name, "store")["egress"] == []


@pytest.mark.parametrize("name", CONFINED)
def test_only_the_resync_reaches_other_homeservers(name):
    def reaches_the_internet(role: str) -> bool:
        blocks = [
            peer.get("ipBlock", {}).get("cidr")
            for rule in policy(name, role)["egress"]
            for peer in rule.get("to", ())
        ]
        return "0.0.0.0/0" in blocks

    assert reaches_the_internet("resync")
    assert not reaches_the_internet("api")


@pytest.mark.parametrize("name", CONFINED)
def test_other_homeservers_are_never_at_private_addresses(name):
    (world,) = (
        peer["ipBlock"]
        for rule in policy(name, "resync")["egress"]
        for peer in rule.get("to", ())
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    )
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(world["except"])


def test_frontends_are_the_namespace_unless_named():
    (rule,) = policy("confined", "api")["ingress"]
    assert rule == {"from": [{"podSelector": {}}], "ports": [{"port": "grpc"}]}
    calls, _ = policy("scaled", "api")["ingress"]
    assert calls["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "synapse"}}}]


def test_nobody_calls_the_resync():
    assert policy("confined", "resync")["ingress"] == []
    (metrics,) = policy("scaled", "resync")["ingress"]
    assert metrics["ports"] == [{"port": "metrics"}]
