"""The calls that rows of checks are measured with. Each returns how many requests it had answered."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import check_service_pb2_grpc as pb_grpc
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from partialstate.v1 import rooms_service_pb2_grpc as rooms_grpc

IN_FLIGHT = 32
BATCH = 100
# A room that is not partial: what nearly every request of a homeserver is about.
REQUEST = pb.CheckRequest(
    endpoint=pb.ENDPOINT_STATE_IDS, origin="a.example", room_id="!full:a.example", event_ids=["$event"]
)
_TIMEOUT_S = 30


async def unary(channel: grpc.aio.Channel, calls: int = 3_200) -> int:
    """Check, with 32 in flight."""
    stub = pb_grpc.CheckServiceStub(channel)

    async def caller() -> None:
        for _ in range(calls // IN_FLIGHT):
            await stub.Check(REQUEST, timeout=_TIMEOUT_S)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(caller())
    return calls


async def stream(channel: grpc.aio.Channel, calls: int = 6_400) -> int:
    """StreamCheck, with 32 in flight on one stream."""
    free = asyncio.Semaphore(IN_FLIGHT)

    async def requests() -> AsyncIterator[pb.StreamCheckRequest]:
        for _ in range(calls):
            await free.acquire()
            yield pb.StreamCheckRequest(request=REQUEST)

    answers = pb_grpc.CheckServiceStub(channel).StreamCheck(requests(), timeout=_TIMEOUT_S)
    async for _ in answers:
        free.release()
    return calls


async def batch(channel: grpc.aio.Channel, calls: int = 160) -> int:
    """BatchCheck of 100, with 8 in flight."""
    stub = pb_grpc.CheckServiceStub(channel)
    message = pb.BatchCheckRequest(requests=[REQUEST] * BATCH)

    async def caller() -> None:
        for _ in range(calls // 8):
            await stub.BatchCheck(message, timeout=_TIMEOUT_S)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(caller())
    return calls * BATCH


async def latencies_s(channel: grpc.aio.Channel, calls: int = 300) -> list[float]:
    """Return how long single calls take, one after the other."""
    stub, took_s = pb_grpc.CheckServiceStub(channel), []
    for _ in range(calls):
        begun_s = time.perf_counter()
        await stub.Check(REQUEST, timeout=_TIMEOUT_S)
        took_s.append(time.perf_counter() - begun_s)
    return took_s


async def reconcile(channel: grpc.aio.Channel) -> None:
    """Let a fresh store decide."""
    stub = rooms_grpc.RoomsServiceStub(channel)
    token = (await stub.ListPartialRooms(rooms_pb.ListPartialRoomsRequest())).state_token
    header = rooms_pb.ReconcileRoomsHeader(state_token=token)
    await stub.ReconcileRooms(iter([rooms_pb.ReconcileRoomsRequest(header=header)]))
