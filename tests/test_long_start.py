"""A process whose embedded store has much to load is live meanwhile."""

import asyncio
from dataclasses import replace

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from partialstate_service import life
from partialstate_service.app import store_settings
from partialstate_service.settings import Settings
from support.loading_server import loading_server

CHECKS = health_pb2.HealthCheckRequest(service="partialstate.v1.CheckService")


async def test_it_answers_that_it_is_live_and_not_ready(tmp_path, monkeypatch):
    executable = loading_server(tmp_path, loading_s=3600)
    monkeypatch.setattr(
        life,
        "store_settings",
        lambda settings: replace(
            store_settings(settings), embedded_executable=executable, start_timeout_s=0.5, stop_grace_s=1
        ),
    )
    settings = Settings(
        server_name="us.example",
        role="api",
        listen="127.0.0.1:0",
        data_dir=tmp_path / "data",
        drain_grace_s=1,
    )
    async with (
        asyncio.timeout(20),
        life.service(settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for asked, status in (
            (health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse.SERVING),
            (CHECKS, health_pb2.HealthCheckResponse.NOT_SERVING),
        ):
            assert (await health.Check(asked)).status == status
