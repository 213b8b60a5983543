"""Row `check.unary`: the server's CPU for one fully consistent Check, against an empty handler of the same stack."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import check_service_pb2_grpc as pb_grpc
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from partialstate.v1 import rooms_service_pb2_grpc as rooms_grpc

from bench.processes import Measured, measured_process
from bench.service_process import running_service

IN_FLIGHT = 32
CALLS = 3_200
REPEATS = 7
TARGET_RATIO = 1.25
# A room that is not partial: what nearly every request of a homeserver is about.
REQUEST = pb.CheckRequest(
    endpoint=pb.ENDPOINT_STATE_IDS, origin="a.example", room_id="!full:a.example", event_ids=["$event"]
)


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    yield asyncio.run(_unary())


async def _unary() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        empty_target = f"unix:{directory}/empty.sock"
        async with (
            running_service(Path(directory), resync_workers="0") as service,
            measured_process(["-m", "bench.empty_server", empty_target]) as empty,
            grpc.aio.insecure_channel(empty_target) as empty_channel,
        ):
            await _reconcile(service.channel)
            await empty_channel.channel_ready()
            both = ((service.process, service.channel), (empty, empty_channel))
            for _, channel in both:
                await _load(channel, CALLS)
            checks, floors = [], []
            for _ in range(REPEATS):
                for (process, channel), figures in zip(both, (checks, floors), strict=True):
                    figures.append(await _cpu_us_per_call(process, channel))
            value, baseline = median(checks), median(floors)
    ratio = value / baseline
    return {
        "name": "check.unary",
        "value": round(value, 1),
        "unit": "us CPU/check",
        "baseline": round(baseline, 1),
        "ratio": round(ratio, 3),
        "target": TARGET_RATIO,
        "ok": ratio <= TARGET_RATIO,
    }


async def _cpu_us_per_call(process: Measured, channel: grpc.aio.Channel) -> float:
    before = process.cpu_s()
    await _load(channel, CALLS)
    return (process.cpu_s() - before) / CALLS * 1e6


async def _load(channel: grpc.aio.Channel, calls: int) -> None:
    stub = pb_grpc.CheckServiceStub(channel)

    async def caller() -> None:
        for _ in range(calls // IN_FLIGHT):
            await stub.Check(REQUEST, timeout=10)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(caller())


async def _reconcile(channel: grpc.aio.Channel) -> None:
    """Let a fresh store decide."""
    stub = rooms_grpc.RoomsServiceStub(channel)
    token = (await stub.ListPartialRooms(rooms_pb.ListPartialRoomsRequest())).state_token
    header = rooms_pb.ReconcileRoomsHeader(state_token=token)
    await stub.ReconcileRooms(iter([rooms_pb.ReconcileRoomsRequest(header=header)]))
