"""What a pod may do is what it needs."""

import json

import pytest
from support.helm_chart import SAMPLES, rendered, sample, sample_values, secrets_by_value


def test_every_container_has_a_read_only_root(release):
    assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in release.containers())


def test_every_container_drops_every_capability(release):
    assert all(
        container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        for container in release.containers()
    )


def test_no_container_gains_privileges(release):
    for container in release.containers():
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert "privileged" not in container["securityContext"]


def test_no_pod_runs_as_root(release):
    for pod in release.pods():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0


def test_every_pod_has_the_runtimes_seccomp_profile(release):
    assert all(
        pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for pod in release.pods()
    )


def test_no_pod_gets_a_token_of_the_cluster(release):
    assert all(pod["spec"]["automountServiceAccountToken"] is False for pod in release.pods())
    assert all(
        account["automountServiceAccountToken"] is False for account in release.of_kind("ServiceAccount")
    )


def test_no_pod_shares_a_namespace_of_the_node(release):
    for pod in release.pods():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])
        assert not any("hostPath" in volume for volume in pod["spec"]["volumes"])


def test_services_of_the_namespace_do_not_become_settings(release):
    """`PARTIALSTATE_…` variables from a Service with such a name would be unknown settings, which are errors."""
    assert all(pod["spec"]["enableServiceLinks"] is False for pod in release.pods())


def test_every_temporary_volume_is_bounded(release):
    volumes = [volume for pod in release.pods() for volume in pod["spec"]["volumes"] if "emptyDir" in volume]
    assert all(volume["emptyDir"]["sizeLimit"] for volume in volumes)


def test_every_file_of_the_service_is_read_only_and_for_its_group_at_most(release):
    for pod in release.service_pods():
        (files,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "files")
        assert files["projected"]["defaultMode"] == 0o440
        (container,) = pod["spec"]["containers"]
        (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "files")
        assert mount["readOnly"] is True
        assert "subPath" not in mount, "a file mounted by itself does not follow its source"


@pytest.mark.parametrize("name", SAMPLES)
def test_a_secret_given_by_value_is_in_the_charts_secret_alone(name):
    secrets = list(secrets_by_value(sample_values(name)))
    release = sample(name)
    for found in release.objects:
        if found["kind"] != "Secret":
            text = json.dumps(found)
            assert not [secret for secret in secrets if secret in text], found["metadata"]["name"]


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_but_the_charts_secret_depends_on_a_secret_given_by_value(name):
    """A digest of a password, where everybody may read it, is what a guess can be compared with."""

    def other(values):
        if isinstance(values, dict):
            return {
                key: f"{value}x" if key == "value" and "$(" not in value else other(value)
                for key, value in values.items()
            }
        return values

    def visible(values):
        return [found for found in rendered(values).objects if found["kind"] != "Secret"]

    assert visible(sample_values(name)) == visible(other(sample_values(name)))


def test_the_samples_give_secrets_both_ways():
    """Or the test above shows nothing."""
    by_value = [list(secrets_by_value(sample_values(name))) for name in SAMPLES]
    assert any(by_value)
    assert not all(by_value)


@pytest.mark.parametrize("name", SAMPLES)
def test_without_a_secret_by_value_the_chart_makes_none(name):
    assert bool(list(secrets_by_value(sample_values(name)))) == bool(sample(name).of_kind("Secret"))


def test_the_settings_file_holds_no_url_of_a_store(release):
    assert "store_url" not in release.settings_file()


def test_every_call_is_authenticated_unless_that_is_waived_by_name(release):
    settings = release.settings_file()
    assert ("tls_client_ca_file" in settings or "token_file" in settings) != settings.get(
        "allow_insecure", False
    )
