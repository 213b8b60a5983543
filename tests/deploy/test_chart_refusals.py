"""Values that cannot work are refused, with a text that says what to change."""

import helm_python
import pytest
from support.helm_chart import changed, rendered, sample_values

BY_NAME = {"secret": "a", "secretKey": "b"}

# The sample, what is changed in it, and what the refusal must name.
REFUSED = {
    "no server name": ("minimal", {"serverName": ""}, "serverName"),
    "no image": ("minimal", {"image": {"repository": ""}}, "repository"),
    "an unknown value": ("minimal", {"replicas": 3}, "replicas"),
    "an unknown mode": ("minimal", {"mode": "both"}, "mode"),
    "no signing": ("minimal", {"signing": {"key": None}}, "one of signing.key and signing.target"),
    "two ways of signing": ("minimal", {"signing": {"target": "a:1"}}, "one of signing.key and signing.target"),
    "nobody authenticated": ("minimal", {"tokens": None}, "set tokens or tls.requireClientCertificate, or allow"),
    "a signing homeserver that nobody authenticates": (
        "minimal", {"signing": {"key": None, "target": "a:1"}}, "signing.target needs signing.caCertificates",
    ),
    "client certificates without TLS": ("minimal", {"tls": {"requireClientCertificate": True}}, "needs tls.secret"),
    "a secret given twice": ("minimal", {"tokens": BY_NAME}, "tokens"),
    "a secret without its key": ("minimal", {"tokens": {"value": None, "secret": "a"}}, "tokens"),
    "a bundled store without a password": (
        "minimal", {"store": {"bundled": {"password": None}}}, "store.bundled.password must be set",
    ),
    "a password that breaks a URL": (
        "minimal", {"store": {"bundled": {"password": {"value": "SECRET@characters/long"}}}},
        "store.bundled.password.value must be 16 characters",
    ),
    "a short password": (
        "minimal", {"store": {"bundled": {"password": {"value": "SECRET-15-chars"}}}},
        "store.bundled.password.value must be 16 characters",
    ),
    "a password that is not percent-encoded": (
        "external-tls", {"store": {"external": {"password": {"secret": None, "secretKey": None, "value": "SECRET@"}}}},
        "store.external.password.value must be percent-encoded",
    ),
    "a store's authority that its URL does not name": (
        "external-tls", {"store": {"external": {"url": {"value": "rediss://:$(STORE_PASSWORD)@a"}}}},
        "store.external.caCertificates and",
    ),
    "a store's authority that is not given": (
        "external-tls", {"store": {"external": {"caCertificates": None}}}, "store.external.caCertificates and",
    ),
    "a server name that is a number": ("minimal", {"serverName": 12}, "serverName"),
    "a server name that is none": ("minimal", {"serverName": "https://example.org"}, "serverName"),
    "a signing homeserver without a port": (
        "external-tls", {"signing": {"target": "synapse.example.org"}}, "/signing/target",
    ),
    "a signing homeserver at no port": (
        "external-tls", {"signing": {"target": "synapse.example.org:0"}}, "/signing/target",
    ),
    "an unknown setting": ("minimal", {"settings": {"resync_worker": 3}}, "'resync_worker'"),
    "a setting of another kind": ("minimal", {"settings": {"resync_workers": "three"}}, "resync_workers"),
    "a resync that does nothing": ("minimal", {"settings": {"resync_workers": 0}}, "resync_workers must be at least 1"),
    "a label that selects": (
        "minimal", {"api": {"podLabels": {"app.kubernetes.io/component": "resync"}}}, "'app.kubernetes.io/component'",
    ),
    "an annotation of the chart's": (
        "minimal", {"api": {"podAnnotations": {"checksum/settings": "a"}}}, "'checksum/settings'",
    ),
    "a Secret with an impossible name": (
        "minimal", {"tokens": {"value": None, "secret": "My_Secret", "secretKey": "a"}}, "tokens",
    ),
    "connections of some years": (
        "minimal", {"lifecycle": {"maxConnectionAgeSeconds": 604801}}, "maxConnectionAgeSeconds",
    ),
    "an external store nowhere": ("minimal", {"store": {"kind": "external"}}, "store.external.url must be set"),
    "a password without a place": (
        "all-external", {"store": {"external": {"password": BY_NAME}}}, "belong together",
    ),
    "a place without a password": (
        "external-tls", {"store": {"external": {"password": None}}}, "belong together",
    ),
    "an embedded store for two": ("all-embedded", {"all": {"replicas": 2}}, "store.kind embedded needs mode all"),
    "an embedded store for roles": ("all-embedded", {"mode": "split"}, "store.kind embedded needs mode all"),
    "scaling by nothing": (
        "minimal", {"api": {"autoscaling": {"enabled": True}}}, "api.autoscaling needs api.resources.requests.cpu",
    ),
    "scaling backwards": ("scaled", {"api": {"autoscaling": {"minReplicas": 11}}}, "minReplicas is above maxReplicas"),
    "a setting that has a value of its own": ("minimal", {"settings": {"listen": "0.0.0.0:1"}}, "'listen'"),
    "a secret among the settings": ("minimal", {"settings": {"store_url": "redis://:pw@a"}}, "'store_url'"),
    "a budget that blocks every drain": (
        "minimal", {"api": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "maxUnavailable",
    ),
    "a drain of no time": ("minimal", {"lifecycle": {"drainSeconds": 0}}, "drainSeconds"),
}  # fmt: skip


@pytest.mark.parametrize(("sample", "changes", "text"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused(sample, changes, text):
    with pytest.raises(helm_python.HelmError) as refused:
        rendered(changed(sample_values(sample), changes))
    assert text in str(refused.value)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("name", ["a.b", "1a", "12"])
def test_a_release_whose_name_no_service_may_have_is_refused(name):
    with pytest.raises(helm_python.HelmError) as refused:
        rendered(sample_values("minimal"), name)
    assert "begin with a letter" in str(refused.value)
