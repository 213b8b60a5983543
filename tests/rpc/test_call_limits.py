"""How many calls there may be at the same time, how often a client may call, and which streams a withdrawn token ends."""

import asyncio

import grpc
import pytest
from partialstate.v1 import (
    check_service_pb2,
    recovered_state_service_pb2,
    rooms_service_pb2,
    watch_service_pb2,
)
from partialstate_service.rpc.server import ServerConfig
from support.api import connected, refused, registration, running_api
from support.send_joins import sent_join

LIST = rooms_service_pb2.ListPartialRoomsRequest()
WATCH = watch_service_pb2.WatchRequest()
CHECK = check_service_pb2.CheckRequest(endpoint=check_service_pb2.ENDPOINT_SEND, origin="a.example")


def bearer(token: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


def config(**fields) -> ServerConfig:
    return ServerConfig(**{"listen": "127.0.0.1:0", "drain_grace_s": 1, **fields})


def counted(api, name, **labels) -> float:
    return api.metrics.registry.get_sample_value(name, labels) or 0.0


async def test_a_client_cannot_take_all_calls(store_url, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("greedy:frontend t1\nmodest:frontend t2\n")
    limited = config(token_file=tokens, max_calls_per_client=2)
    async with running_api(store_url, reconciled=False, config=limited) as api:
        watches = [api.watch.Watch(WATCH, metadata=bearer("t1")) for _ in range(2)]
        for watch in watches:
            await watch.read()
        with refused() as refusal:
            await api.rooms.ListPartialRooms(LIST, metadata=bearer("t1"))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert refusal.facts == {"limit": "2", "scope": "client"}
        await api.rooms.ListPartialRooms(LIST, metadata=bearer("t2"))
        watches[0].cancel()
        await until_admitted(api, bearer("t1"))


async def until_admitted(api, metadata) -> None:
    """Return once the service has seen the end of a call that its client has ended."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await api.rooms.ListPartialRooms(LIST, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise


async def test_clients_without_names_are_counted_by_their_host(store_url):
    async with running_api(store_url, reconciled=False, config=config(max_calls_per_client=1)) as api:
        await api.watch.Watch(WATCH).read()
        async with grpc.aio.insecure_channel(api.address) as another:
            with refused() as refusal:
                await connected(None, api.address, another).rooms.ListPartialRooms(LIST)
        assert refusal.reason == "TOO_MANY_CALLS"


async def test_all_clients_together_have_a_limit_that_says_so(store_url, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("one:frontend t1\nother:frontend t2\n")
    limited = config(token_file=tokens, max_concurrent_calls=1)
    async with running_api(store_url, reconciled=False, config=limited) as api:
        watch = api.watch.Watch(WATCH, metadata=bearer("t1"))
        await watch.read()
        with refused() as refusal:
            await api.rooms.ListPartialRooms(LIST, metadata=bearer("t2"))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert refusal.facts == {"limit": "1", "scope": "service"}
        assert counted(api, "partialstate_failed_calls_total", reason="TOO_MANY_CALLS") == 1
        watch.cancel()
        await until_admitted(api, bearer("t2"))


async def test_a_client_that_calls_too_often_is_told_when_to_call_again(store_url, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("eager:frontend t1\nmodest:frontend t2\n")
    limited = config(token_file=tokens, max_calls_per_second_per_client=0.01, max_call_burst_per_client=2)
    async with running_api(store_url, reconciled=False, config=limited) as api:
        for _ in range(2):
            await api.rooms.ListPartialRooms(LIST, metadata=bearer("t1"))
        with refused() as refusal:
            await api.rooms.ListPartialRooms(LIST, metadata=bearer("t1"))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CALL_RATE_EXCEEDED")
        assert refusal.facts == {"calls_per_second": "0.01", "burst": "2"}
        assert refusal.retry_after_s is not None
        assert 90 < refusal.retry_after_s <= 100
        assert counted(api, "partialstate_failed_calls_total", reason="CALL_RATE_EXCEEDED") == 1
        await api.rooms.ListPartialRooms(LIST, metadata=bearer("t2"))


async def test_each_item_of_a_batch_is_a_call(store_url, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("main:joiner t-main\nworker:frontend t-worker\n")
    limited = config(token_file=tokens, max_calls_per_second_per_client=0.01, max_call_burst_per_client=5)
    async with running_api(store_url, reconciled=False, config=limited) as api:
        token = (await api.rooms.ListPartialRooms(LIST, metadata=bearer("t-main"))).state_token
        header = rooms_service_pb2.ReconcileRoomsHeader(state_token=token)
        await api.rooms.ReconcileRooms(
            iter([rooms_service_pb2.ReconcileRoomsRequest(header=header)]), metadata=bearer("t-main")
        )
        # One batch that is larger than all calls at once passes, and is owed.
        batch = check_service_pb2.BatchCheckRequest(requests=[CHECK] * 8)
        assert len((await api.check.BatchCheck(batch, metadata=bearer("t-worker"))).results) == 8
        with refused() as refusal:
            await api.check.Check(CHECK, metadata=bearer("t-worker"))
        assert refusal.retry_after_s is not None
        assert 390 < refusal.retry_after_s <= 400


async def test_checks_of_a_stream_wait_for_the_clients_rate(store_url):
    limited = config(max_calls_per_second_per_client=200, max_call_burst_per_client=5)
    async with running_api(store_url, reconciled=False, config=limited) as api:
        await api.reconcile()
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        stream = api.check.StreamCheck(check_service_pb2.StreamCheckRequest(request=CHECK) for _ in range(30))
        answers = [answer async for answer in stream]
        assert [answer.result.WhichOneof("result") for answer in answers] == ["decision"] * 30
        # Five at once, at most, and of the others each 5 ms after the one before.
        assert loop.time() - begun_s > 0.12
        # How many wait depends on the machine: one that stands still for a while lets some through at once.
        assert counted(api, "partialstate_delayed_checks_total") > 0


async def stream_of_each_kind(api, metadata):
    """Open a stream of answers of every kind, and return them when the service has begun to answer."""
    join = sent_join()
    registered = await api.rooms.RegisterPartialJoin(registration(join), metadata=metadata)
    watch = api.watch.Watch(WATCH, metadata=metadata)
    await watch.read()
    recovered = api.recovered.StreamRecoveredState(
        recovered_state_service_pb2.StreamRecoveredStateRequest(
            room_id=join.room_id, generation=registered.generation, follow=True
        ),
        metadata=metadata,
    )
    await recovered.read()
    checks = api.check.StreamCheck(metadata=metadata)
    await checks.write(check_service_pb2.StreamCheckRequest(request=CHECK))
    await checks.read()
    return watch, recovered, checks


async def goes_on(api, watch, metadata) -> None:
    """Return once *watch* has shown a change that is made now."""
    join = sent_join()
    await api.rooms.RegisterPartialJoin(registration(join), metadata=metadata)
    while (await watch.read()).changed.room_id != join.room_id:
        pass


@pytest.mark.parametrize(
    ("withdrawn", "reason"),
    [
        ("other:joiner t2\n", "UNAUTHENTICATED"),
        ("main:operator t1\nother:joiner t2\n", "PERMISSION_DENIED"),
    ],
    ids=["token", "role"],
)
async def test_what_is_withdrawn_ends_its_streams(store_url, tmp_path, withdrawn, reason):
    tokens = tmp_path / "tokens"
    tokens.write_text("main:joiner t1\nother:joiner t2\n")
    async with running_api(store_url, reconciled=False, config=config(token_file=tokens)) as api:
        streams = await stream_of_each_kind(api, bearer("t1"))
        staying = api.watch.Watch(WATCH, metadata=bearer("t2"))
        await staying.read()
        tokens.write_text(withdrawn)
        async with asyncio.timeout(10):
            for stream in streams[1:] if reason == "PERMISSION_DENIED" else streams:
                with refused() as refusal:
                    while await stream.read() is not grpc.aio.EOF:
                        pass
                assert refusal.reason == reason
            await goes_on(api, staying, bearer("t2"))


async def test_a_token_that_only_moved_in_its_file_keeps_its_streams(store_url, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("gone\nstays\n")
    async with running_api(store_url, reconciled=False, config=config(token_file=tokens)) as api:
        gone, stays = (api.watch.Watch(WATCH, metadata=bearer(token)) for token in ("gone", "stays"))
        for watch in (gone, stays):
            await watch.read()
        tokens.write_text("stays\n")
        async with asyncio.timeout(10):
            with refused():
                while await gone.read() is not grpc.aio.EOF:
                    pass
            await goes_on(api, stays, bearer("stays"))
