"""The chart, rendered by the real Helm, as the objects that a cluster would get."""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "matrix-partial-state"
SAMPLES = sorted(path.stem.removesuffix("-values") for path in (CHART / "ci").glob("*-values.yaml"))
RELEASE = "demo"
NAMESPACE = "matrix"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Release:
    """What one set of values yields."""

    values: Mapping[str, Any]
    objects: tuple[Manifest, ...]

    def of_kind(self, kind: str) -> list[Manifest]:
        """The objects of this kind."""
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        """The object with this kind and name, given without the release's part of it."""
        (found,) = (
            found
            for found in self.of_kind(kind)
            if found["metadata"]["name"] == f"{RELEASE}-{CHART.name}{name}"
        )
        return found

    def workloads(self) -> list[Manifest]:
        """Everything that makes pods."""
        return [*self.of_kind("Deployment"), *self.of_kind("StatefulSet")]

    def pods(self) -> list[Manifest]:
        """The pod template of each workload."""
        return [workload["spec"]["template"] for workload in self.workloads()]

    def service_pods(self) -> list[Manifest]:
        """The pod templates of the service itself."""
        return [workload["spec"]["template"] for workload in self.of_kind("Deployment")]

    def containers(self) -> list[Manifest]:
        """The containers of all pods."""
        return [container for pod in self.pods() for container in pod["spec"]["containers"]]

    def settings_file(self) -> Manifest:
        """The service's settings file."""
        content: Manifest = yaml.safe_load(self.one("ConfigMap", "")["data"]["config.yaml"])
        return content

    def environment(self, container: Manifest) -> dict[str, str]:
        """The variables of *container* as the kubelet would set them; the text of a foreign Secret is its key's name."""
        found: dict[str, str] = {}
        for variable in container.get("env", ()):
            if "value" in variable:
                text = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], variable["value"])
            else:
                text = self._secret(**variable["valueFrom"]["secretKeyRef"])
            found[variable["name"]] = text
        return found

    def _secret(self, name: str, key: str) -> str:
        for secret in self.of_kind("Secret"):
            if secret["metadata"]["name"] == name:
                return base64.b64decode(secret["data"][key]).decode()
        return key


@cache
def sample(name: str) -> Release:
    """Return what the sample values of this name yield."""
    return rendered(sample_values(name))


def sample_values(name: str) -> Manifest:
    """Return the sample values of this name."""
    return helm_python.values_from_yaml((CHART / "ci" / f"{name}-values.yaml").read_text(encoding="utf-8"))


def rendered(values: Mapping[str, Any], name: str = RELEASE) -> Release:
    """Return what *values* yield for a release called *name*. Raises `helm_python.HelmError` where they break the schema or contradict each other."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(dict(values))
        files = chart.render(dict(values), name=name, namespace=NAMESPACE)
        objects = [
            found
            for name, text in sorted(files.items())
            if name.endswith(".yaml")
            for found in yaml.safe_load_all(text)
            if found is not None
        ]
        return Release(chart.merge_values(dict(values)), tuple(objects))


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> Manifest:
    """Return *values* with *changes* laid over them; None removes."""
    result = dict(values)
    for name, change in changes.items():
        before = result.get(name)
        if change is None:
            result.pop(name)
        elif isinstance(change, Mapping) and isinstance(before, Mapping):
            result[name] = changed(before, change)
        else:
            result[name] = change
    return result


def secrets_by_value(values: Any) -> Iterator[str]:
    """Yield every secret that *values* give by value, wherever it is; one with a variable in it is a URL without one."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            if name == "value" and isinstance(value, str) and "$(" not in value:
                yield value
            else:
                yield from secrets_by_value(value)
