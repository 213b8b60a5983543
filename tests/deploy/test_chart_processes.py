"""The chart's containers run as processes here: they start, answer the chart's probes and end in time."""

import signal
from contextlib import ExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.chart_processes import bundled_store, service_process
from support.helm_chart import sample
from support.loopback_ports import free_port

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
PASSWORD = "a-password-of-the-store"


@pytest.fixture(params=["all", "api", "resync"])
def running(request, tmp_path):
    """A container with the store that its sample gives it: its pod's specification, its process and its port."""
    role = request.param
    release = sample("all-embedded" if role == "all" else "minimal")
    pod = release.one("Deployment", f"-{role}")["spec"]["template"]["spec"]
    port = free_port()
    environment = {}
    with ExitStack() as stack:
        if role != "all":
            store_port = free_port()
            stack.enter_context(bundled_store(release, tmp_path / "store", store_port, PASSWORD))
            environment["PARTIALSTATE_STORE_URL"] = f"redis://:{PASSWORD}@127.0.0.1:{store_port}/0"
        (container,) = pod["containers"]
        process = stack.enter_context(service_process(release, container, tmp_path / role, port, environment))
        yield pod, process, port


def test_every_probe_is_answered(running):
    pod, _, port = running
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for probe in PROBES:
            service = pod["containers"][0][probe]["grpc"].get("service", "")
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_it_ends_within_its_grace_period(running):
    pod, process, _ = running
    process.send_signal(signal.SIGTERM)
    assert process.wait(pod["terminationGracePeriodSeconds"]) == 0
