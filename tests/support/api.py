"""The real gRPC API over a real store, without workers: tests play the worker through the store's own protocol.

The `api` fixture of tests/rpc gives each test a store of its own, reconciled.
"""

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from partialstate.v1 import (
    check_service_pb2_grpc,
    recovered_state_service_pb2_grpc,
    rooms_service_pb2,
    rooms_service_pb2_grpc,
    types_pb2,
    watch_service_pb2_grpc,
)
from partialstate_service.app import servicers
from partialstate_service.domain.rooms import StateSummary
from partialstate_service.matrix.event import Event
from partialstate_service.metrics import Metrics
from partialstate_service.ownership.given_events import stored_json
from partialstate_service.rpc.server import ServerConfig
from partialstate_service.settings import Settings
from partialstate_service.store.open import Store, open_store
from partialstate_service.store.protocol import Lease
from partialstate_service.store.settings import StoreSettings
from support.rooms import RoomBuilder
from support.send_joins import US, SentJoin
from support.serving import running_server

CHUNK = 1000
_LEASE_MS = 60_000


@dataclass
class Api:
    """The stubs of a running server, and the store behind it."""

    store: Store
    address: str
    rooms: Any
    check: Any
    recovered: Any
    watch: Any
    metrics: Metrics

    def __post_init__(self) -> None:
        # Each claim is made a little later than all leases before it have run out.
        self._clock = count(int(time.time() * 1000) + 2 * _LEASE_MS, 2 * _LEASE_MS)

    async def register(self, join: SentJoin, **header: Any) -> rooms_service_pb2.RegisterPartialJoinResponse:
        return await self.rooms.RegisterPartialJoin(registration(join, **header))

    async def token(self) -> types_pb2.StateToken:
        return (await self.rooms.ListPartialRooms(rooms_service_pb2.ListPartialRoomsRequest())).state_token

    async def reconcile(
        self, *held: rooms_service_pb2.HeldRoom, token: types_pb2.StateToken | None = None
    ) -> rooms_service_pb2.ReconcileRoomsResponse:
        return await self.rooms.ReconcileRooms(
            reconciliation(await self.token() if token is None else token, held)
        )

    async def lease(self, room_id: str) -> Lease:
        """Claim a room as a worker does; any worker that held it has lost it."""
        while True:
            lease = await self.store.registry.claim_due("tests", next(self._clock), _LEASE_MS)
            assert lease is not None, f"{room_id} is not due"
            if lease.room_id == room_id:
                return lease

    async def verify(self, room_id: str, summary: StateSummary | None = None) -> Lease:
        """Say that the room's non-member state is verified, as a worker does."""
        lease = await self.lease(room_id)
        if summary is None:
            await self.store.registry.mark_state_verified(lease)
        else:
            await self.store.registry.append_log(lease, [], [], [], summary)
        return lease


@asynccontextmanager
async def running_api(
    store_url: str, *, reconciled: bool = True, config: ServerConfig | None = None, **settings: Any
) -> AsyncIterator[Api]:
    """Run a server over a new store at *store_url*, and connect to it."""
    options = StoreSettings(
        data_dir=Path("unused"), url=store_url, key_prefix=uuid4().hex, bookmark_interval_s=0.2
    )
    chosen = Settings(server_name=US, signing_key_path="unused", **settings)
    config = config or ServerConfig(listen="127.0.0.1:0", drain_grace_s=1)
    metrics = Metrics()
    async with (
        open_store(options) as store,
        running_server(servicers(chosen, store, metrics), config, metrics) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        api = connected(store, address, channel, metrics)
        if reconciled:
            await api.reconcile()
        yield api


def connected(
    store: Store | None, address: str, channel: grpc.aio.Channel, metrics: Metrics | None = None
) -> Api:
    return Api(
        store,
        address,
        rooms_service_pb2_grpc.RoomsServiceStub(channel),
        check_service_pb2_grpc.CheckServiceStub(channel),
        recovered_state_service_pb2_grpc.RecoveredStateServiceStub(channel),
        watch_service_pb2_grpc.WatchServiceStub(channel),
        metrics or Metrics(),
    )


async def registration(
    join: SentJoin, **header: Any
) -> AsyncIterator[rooms_service_pb2.RegisterPartialJoinRequest]:
    """Yield the messages that register *join*; *header* replaces fields of the header."""
    fields: dict[str, Any] = {
        "room_id": join.room_id,
        "room_version": join.version,
        "join_event": join.join_event,
        "joined_via": join.joined_via,
        "omit_members_requested": join.omit_members_requested,
    }
    fields |= header
    yield rooms_service_pb2.RegisterPartialJoinRequest(
        header=rooms_service_pb2.RegisterPartialJoinHeader(**fields)
    )
    body = join.body
    for start in range(0, len(body), CHUNK):
        yield rooms_service_pb2.RegisterPartialJoinRequest(
            send_join_response_chunk=body[start : start + CHUNK]
        )


async def reconciliation(
    token: types_pb2.StateToken, held: Iterable[rooms_service_pb2.HeldRoom]
) -> AsyncIterator[rooms_service_pb2.ReconcileRoomsRequest]:
    yield rooms_service_pb2.ReconcileRoomsRequest(
        header=rooms_service_pb2.ReconcileRoomsHeader(state_token=token)
    )
    for room in held:
        yield rooms_service_pb2.ReconcileRoomsRequest(room=room)


def held_room(join: SentJoin, *events: Event, **fields: Any) -> rooms_service_pb2.HeldRoom:
    """Return all that a homeserver says of a room that it holds by *join*; *fields* replace others."""
    state = [event for event in join.room.events.values() if event.type != "m.room.member" and event.is_state]
    return rooms_service_pb2.HeldRoom(
        **{
            "room_id": join.room_id,
            "room_version": join.version,
            "join_event": join.join_event,
            "joined_via": join.joined_via,
            "servers": ["a.example", US],
            "non_member_state": map(pdu, state),
            "partial_events": map(partial_event, events),
            **fields,
        }
    )


def pdu(event: Event, event_id: str | None = None) -> types_pb2.Pdu:
    return types_pb2.Pdu(event_id=event.event_id if event_id is None else event_id, json=stored_json(event))


def partial_event(
    event: Event, *, accepted: bool = True, after: Sequence[Event] = ()
) -> rooms_service_pb2.PartialEvent:
    verdict = (
        rooms_service_pb2.PROVISIONAL_VERDICT_ACCEPTED
        if accepted
        else rooms_service_pb2.PROVISIONAL_VERDICT_REJECTED
    )
    return rooms_service_pb2.PartialEvent(
        pdu=pdu(event), provisional_verdict=verdict, non_member_state_after=map(pdu, after)
    )


def record(room: RoomBuilder, *events: Event) -> rooms_service_pb2.RecordPartialEventsRequest:
    return rooms_service_pb2.RecordPartialEventsRequest(
        room_id=room.room_id, events=map(partial_event, events)
    )


@dataclass
class Refusal:
    """A status as a caller sees it, filled when the block of `refused` ends."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    message: str = ""
    facts: dict[str, str] | None = None
    retry_after_s: float | None = None


class refused:  # noqa: N801 - reads like pytest.raises
    """Expect a call to fail with an ErrorInfo; use as `with refused() as refusal`."""

    def __enter__(self) -> Refusal:
        self._refusal = Refusal()
        self._raises = pytest.raises(grpc.aio.AioRpcError)
        self._caught = self._raises.__enter__()
        return self._refusal

    def __exit__(self, *error: object) -> bool:
        handled = bool(self._raises.__exit__(*error))
        if handled:
            failure = self._caught.value
            self._refusal.code = failure.code()
            self._refusal.message = failure.details() or ""
            status = rpc_status.from_call(failure)
            if status is not None:
                info = error_details_pb2.ErrorInfo()
                assert status.details[0].Unpack(info)
                assert info.domain == "partialstate.v1"
                self._refusal.reason = info.reason
                self._refusal.facts = dict(info.metadata)
                again = error_details_pb2.RetryInfo()
                if any(detail.Unpack(again) for detail in status.details):
                    self._refusal.retry_after_s = again.retry_delay.ToNanoseconds() / 1e9
        return handled
