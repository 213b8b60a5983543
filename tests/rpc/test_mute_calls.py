"""Calls that do not say what they ask for, or say it in no language of ours."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from partialstate_service.rpc.server import ServerConfig
from support.api import refused, running_api

UNARY = "/partialstate.v1.CheckService/Check"
WATCH = "/partialstate.v1.WatchService/Watch"
STREAM = "/partialstate.v1.CheckService/StreamCheck"
UPLOAD = "/partialstate.v1.RoomsService/ReconcileRooms"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
ALL = [UNARY, WATCH, STREAM, UPLOAD]
NO_MESSAGE = b"\xff"


@asynccontextmanager
async def listening(store_url, **fields):
    """Yield the address of a server, and a channel that sends bytes as they are."""
    config = ServerConfig(listen="127.0.0.1:0", **fields)
    async with (
        running_api(store_url, reconciled=False, config=config) as api,
        grpc.aio.insecure_channel(api.address) as channel,
    ):
        yield channel


@pytest.mark.parametrize("method", [*ALL, REFLECTION])
async def test_nobody_without_a_token_is_waited_for(store_url, tmp_path, method):
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    async with listening(store_url, token_file=tokens) as channel, asyncio.timeout(5):
        with refused() as refusal:
            await channel.stream_stream(method)().read()
        assert refusal.code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", [UNARY, WATCH, UPLOAD])
async def test_a_call_is_not_waited_for_longer_than_it_may_take(store_url, method):
    async with (
        listening(store_url, unary_timeout_s=0.2, upload_timeout_s=0.2) as channel,
        asyncio.timeout(5),
    ):
        assert await channel.stream_stream(method)().code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_client_has_no_more_of_them_than_of_others(store_url):
    async with listening(store_url, max_calls_per_client=10) as channel, asyncio.timeout(10):
        mute = [channel.stream_stream(UNARY)() for _ in range(11)]
        with refused() as refusal:
            await next(asyncio.as_completed([asyncio.create_task(call.read()) for call in mute]))
        assert refusal.reason == "TOO_MANY_CALLS"
        for call in mute:
            call.cancel()


@pytest.mark.parametrize("method", [UNARY, WATCH, UPLOAD])
async def test_a_call_without_a_request_is_refused(store_url, method):
    async with listening(store_url) as channel, asyncio.timeout(5):
        call = channel.stream_stream(method)()
        await call.done_writing()
        with refused() as refusal:
            await call.read()
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_STREAM")


@pytest.mark.parametrize("method", ALL)
async def test_what_is_no_message_is_the_callers_mistake_and_not_logged(store_url, method, capsys):
    async with listening(store_url) as channel, asyncio.timeout(5):
        call = channel.stream_stream(method)()
        await call.write(NO_MESSAGE)
        with refused() as refusal:
            await call.read()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_STREAM")
    logged = capsys.readouterr()
    assert "Traceback" not in logged.out + logged.err
