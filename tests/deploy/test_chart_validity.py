"""The chart is one that Helm and Kubernetes accept."""

import json

import helm_python
import kubernetes_validate
import pytest
import yaml
from partialstate._version import __version__
from support.helm_chart import CHART, NAMESPACE, SAMPLES, changed, sample_values

OLDEST_KUBERNETES = "1.30"


def test_there_are_samples():
    assert len(SAMPLES) >= 5


@pytest.mark.parametrize("name", SAMPLES)
def test_helm_finds_nothing_to_criticise(name):
    report = helm_python.lint(CHART, sample_values(name), strict=True)
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_field(release, version):
    for found in release.objects:
        kubernetes_validate.validate(found, version, strict=True)


def test_the_oldest_kubernetes_is_the_one_that_the_chart_demands():
    with helm_python.Chart.load(CHART) as chart:
        assert chart.metadata["kubeVersion"] == f">={OLDEST_KUBERNETES}.0-0"


def test_the_chart_deploys_the_version_beside_it():
    with helm_python.Chart.load(CHART) as chart:
        assert chart.metadata["appVersion"] == __version__


def test_names_are_unique_within_a_kind(release):
    names = [(found["kind"], found["metadata"]["name"]) for found in release.objects]
    assert len(names) == len(set(names))


def objects_of(release: str, values, namespace: str = NAMESPACE):
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name=release, namespace=namespace)
    return [
        found
        for name, text in files.items()
        if name.endswith(".yaml")
        for found in yaml.safe_load_all(text)
        if found is not None
    ]


LONG = [prefix + "r" * (53 - len(prefix)) for prefix in ("", "matrix-partial-state-")]


@pytest.mark.parametrize("release", LONG)
def test_the_longest_release_name_leaves_room_for_what_kubernetes_appends(release):
    """A revision's hash has 10 characters, is appended to the name with a dash, and the whole is a label of the pods."""
    (store,) = (
        found for found in objects_of(release, sample_values("minimal")) if found["kind"] == "StatefulSet"
    )
    assert len(store["metadata"]["name"]) + len("-0123456789") <= 63


@pytest.mark.parametrize("release", LONG)
def test_long_release_names_are_not_cut_alike(release):
    def names(release: str):
        found = [
            (each["kind"], each["metadata"]["name"]) for each in objects_of(release, sample_values("minimal"))
        ]
        assert len(found) == len(set(found))
        return set(found)

    assert not names(release) & names(release[:-1] + "s")


@pytest.mark.parametrize("number", ["123", "1e5"])
def test_what_looks_like_a_number_stays_text(number):
    values = changed(
        sample_values("external-tls"),
        {
            "signing": {"caCertificates": {"secret": number, "secretKey": number}},
            "tls": {"secret": number},
            "serviceAccount": {"name": number},
            "image": {"tag": number},
            "imagePullSecrets": [{"name": number}],
            "store": {"external": {"password": {"secret": number, "secretKey": number}}},
        },
    )
    for found in objects_of("release", values, namespace=number):
        kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)
        assert found["metadata"]["namespace"] == number


def test_every_object_is_in_the_namespace_of_the_release(release):
    assert {found["metadata"]["namespace"] for found in release.objects} == {NAMESPACE}


def test_selectors_select_the_pods_they_are_made_for(release):
    for workload in release.workloads():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_no_two_workloads_select_the_same_pods(release):
    selectors = [json.dumps(workload["spec"]["selector"], sort_keys=True) for workload in release.workloads()]
    assert len(selectors) == len(set(selectors))


def test_every_value_has_a_default_or_is_required():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}


def test_the_packed_chart_is_the_chart(tmp_path):
    values = sample_values(SAMPLES[0])
    with helm_python.Chart.load(CHART) as chart:
        archive = chart.save(tmp_path)
        expected = chart.render(values, name="demo")
    with helm_python.Chart.load(archive) as packed:
        assert packed.render(values, name="demo") == expected
