"""The calls of a resync against real HTTPS servers."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import pytest
import trustme
from aiohttp import web
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.client import FederationClient
from partialstate_service.federation.protocol import FederationError, FederationLimits, Outcome
from partialstate_service.matrix.ed25519 import SigningKey
from partialstate_service.matrix.signing import verify_json_signature
from support.https_peer import Answer, bytes_answer, https_peer, json_answer
from support.tls import server_context

from .conftest import OUR_NAME, OpenFederation

ROOM = RoomId("!room+/ü:example.org")
EVENT = EventId("$event/+=?&:%41")
QUICK = FederationLimits(
    connect_timeout_s=2,
    response_timeout_s=2,
    state_response_timeout_s=2,
    state_total_timeout_s=5,
    progress_window_s=0.3,
    min_progress_bytes=1000,
    max_state_body_bytes=200_000,
    max_ids_body_bytes=100_000,
    max_element_bytes=50_000,
)


async def collect(client: FederationClient, server: ServerName) -> list[tuple[str, bytes]]:
    """Return list and body of each event of a `/state` answer, whose fields are what the body says."""
    async with aclosing(client.state(server, ROOM, EVENT)) as arrivals:
        found = [element async for elements in arrivals for element in elements]
    assert all(json.loads(body) == fields for _, body, fields in found)
    return [(kind, body) for kind, body, _ in found]


async def outcome_of(call: object) -> FederationError:
    """Return the error that *call* raises."""
    with pytest.raises(FederationError) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def test_state_ids_are_fetched_with_a_signature_over_the_path_as_sent(
    ca: trustme.CA, federation: OpenFederation, our_key: SigningKey
) -> None:
    """Each part is quoted once, and the signature covers exactly the bytes that arrive."""
    answer = json_answer({"pdu_ids": ["$a", "$b", "$a"], "auth_chain_ids": ["$c"]})
    async with https_peer(server_context(ca, ["127.0.0.1"]), answer) as peer, federation() as ours:
        server = ServerName(peer.authority)
        ids = await ours.client.state_ids(server, ROOM, EVENT)
    assert (ids.pdu_ids, ids.auth_chain_ids) == (("$a", "$b", "$a"), ("$c",))
    (seen,) = peer.seen
    assert seen.raw_path == (
        "/_matrix/federation/v1/state_ids/%21room%2B%2F%C3%BC%3Aexample.org?event_id=%24event%2F%2B%3D%3F%26%3A%2541"
    )
    assert seen.headers["Host"] == server
    assert seen.headers["Accept-Encoding"] == "identity"
    scheme, _, parameters = seen.headers["Authorization"].partition(" ")
    assert scheme == "X-Matrix"
    header = dict(item.split("=", 1) for item in parameters.replace('"', "").split(","))
    assert (header["origin"], header["destination"], header["key"]) == (OUR_NAME, server, "ed25519:ours")
    signed = {
        "method": "GET",
        "uri": seen.raw_path,
        "origin": OUR_NAME,
        "destination": server,
        "signatures": {OUR_NAME: {"ed25519:ours": header["sig"]}},
    }
    assert verify_json_signature(signed, OUR_NAME, our_key.key_id, our_key.public)


async def test_events_are_returned_byte_for_byte(ca: trustme.CA, federation: OpenFederation) -> None:
    """Elements keep their spelling; lists that were not asked for are passed over."""
    body = b'{"pdus":[ {"b":1.0, "a":"\\u00fc"} , {"x":"\xc3\xbc"}],"other":[{}],"auth_chain":[{"k":[{}]}]}'
    async with (
        https_peer(server_context(ca, ["127.0.0.1"]), bytes_answer(body)) as peer,
        federation() as ours,
    ):
        server = ServerName(peer.authority)
        assert await collect(ours.client, server) == [
            ("pdus", b'{"b":1.0, "a":"\\u00fc"}'),
            ("pdus", b'{"x":"\xc3\xbc"}'),
            ("auth_chain", b'{"k":[{}]}'),
        ]
        assert await ours.client.event_auth(server, ROOM, EVENT) == [b'{"k":[{}]}']
        peer.answer = bytes_answer(b'{"origin":"x","pdus":[{"a" : 1}]}')
        assert await ours.client.event(server, EVENT) == b'{"a" : 1}'
        peer.answer = bytes_answer(b'{"pdus":[{},{}]}')
        assert (await outcome_of(ours.client.event(server, EVENT))).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"{}", Outcome.INVALID),
        (b"", Outcome.INVALID),
        (b"<html>", Outcome.INVALID),
        (b'{"pdus":[]}', Outcome.INVALID),
        (b'{"pdus":[],"auth_chain":{}}', Outcome.INVALID),
        (b'{"pdus":[],"auth_chain":[]', Outcome.INVALID),
        (b'{"pdus":[],"auth_chain":[]} {', Outcome.INVALID),
        (b'{"pdus":[],"auth_chain":["id"]}', Outcome.INVALID),
        (b'{"pdus":[{"a":"\xff"}],"auth_chain":[]}', Outcome.INVALID),
        (b'{"pdus":[{"a":"' + b"x" * 60_000 + b'"}],"auth_chain":[]}', Outcome.TOO_LARGE),
        (
            b'{"pdus":[' + b",".join([b'{"a":"%s"}' % (b"x" * 1000)] * 250) + b'],"auth_chain":[]}',
            Outcome.TOO_LARGE,
        ),
    ],
)
async def test_a_bad_state_body_is_an_outcome(
    ca: trustme.CA, federation: OpenFederation, body: bytes, outcome: Outcome
) -> None:
    """Whatever the body is, the error says what was wrong with it."""
    peers = https_peer(server_context(ca, ["127.0.0.1"]), bytes_answer(body))
    async with peers as peer, federation(limits=QUICK) as ours:
        assert (await outcome_of(collect(ours.client, ServerName(peer.authority)))).outcome is outcome


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"{}", Outcome.INVALID),
        (b'{"pdu_ids":["$a"]}', Outcome.INVALID),
        (b'{"pdu_ids":["a"],"auth_chain_ids":[]}', Outcome.INVALID),
        (b'{"pdu_ids":[1],"auth_chain_ids":[]}', Outcome.INVALID),
        (b"[" * 50_000, Outcome.INVALID),
        (b" " * 100_001, Outcome.TOO_LARGE),
    ],
)
async def test_a_bad_state_ids_body_is_an_outcome(
    ca: trustme.CA, federation: OpenFederation, body: bytes, outcome: Outcome
) -> None:
    """Both lists are required, of well-formed ids, within the limit."""
    peers = https_peer(server_context(ca, ["127.0.0.1"]), bytes_answer(body))
    async with peers as peer, federation(limits=QUICK) as ours:
        error = await outcome_of(ours.client.state_ids(ServerName(peer.authority), ROOM, EVENT))
    assert error.outcome is outcome
    assert error.server == peer.authority


async def test_errors_are_classified_with_their_retry_after(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """The errcode and the wait come from the answer; its text arrives escaped and its rest unread."""
    body = {"errcode": "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE", "error": "partial\nstate"}
    async with https_peer(server_context(ca, ["127.0.0.1"])) as peer, federation(limits=QUICK) as ours:
        server = ServerName(peer.authority)
        peer.answer = json_answer(body, 403)
        error = await outcome_of(ours.client.state_ids(server, ROOM, EVENT))
        assert (error.outcome, error.retry_after_s) == (Outcome.UNABLE, None)
        assert error.text.endswith(r"partial\nstate")
        peer.answer = json_answer({"errcode": "M_LIMIT_EXCEEDED"}, 429, {"Retry-After": "7"})
        error = await outcome_of(collect(ours.client, server))
        assert (error.outcome, error.retry_after_s) == (Outcome.RATE_LIMITED, 7.0)
        peer.answer = bytes_answer(b"x" * 10_000_000, 502)
        assert (await outcome_of(collect(ours.client, server))).outcome is Outcome.SERVER_ERROR
        peer.answer = bytes_answer(b"", 302, {"Location": "https://elsewhere.example/"})
        assert (await outcome_of(ours.client.event(server, EVENT))).outcome is Outcome.INVALID


async def test_a_compressed_body_is_refused(ca: trustme.CA, federation: OpenFederation) -> None:
    """A small body that unpacks to any size is not even begun."""
    answer = bytes_answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    async with https_peer(server_context(ca, ["127.0.0.1"]), answer) as peer, federation() as ours:
        error = await outcome_of(collect(ours.client, ServerName(peer.authority)))
    assert error.outcome is Outcome.INVALID


def dripping(first: bytes, drip: bytes, pause_s: float) -> Answer:
    """Return an answer that begins with *first* and goes on with *drip* for ever."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(first)
        while True:
            await asyncio.sleep(pause_s)
            await response.write(drip)

    return answer


@pytest.mark.parametrize("drip", [b"", b" "])
async def test_a_slow_loris_is_a_timeout(ca: trustme.CA, federation: OpenFederation, drip: bytes) -> None:
    """A peer that sends nothing more, or a byte now and then, costs one window and not the total."""
    peers = https_peer(server_context(ca, ["127.0.0.1"]), dripping(b'{"pdus":[{}', drip, 0.05))
    async with peers as peer, federation(limits=QUICK) as ours:
        async with asyncio.timeout(2):
            error = await outcome_of(collect(ours.client, ServerName(peer.authority)))
    assert error.outcome is Outcome.TIMEOUT


async def test_an_endless_body_is_too_large(ca: trustme.CA, federation: OpenFederation) -> None:
    """A peer that never stops is cut off at the limit."""
    peers = https_peer(server_context(ca, ["127.0.0.1"]), dripping(b'{"pdus":[{}', b" " * 40_000, 0))
    async with peers as peer, federation(limits=QUICK) as ours:
        error = await outcome_of(collect(ours.client, ServerName(peer.authority)))
    assert error.outcome is Outcome.TOO_LARGE


async def test_a_slow_answer_of_a_small_call_is_a_timeout(ca: trustme.CA, federation: OpenFederation) -> None:
    """An answer that does not begin in time is a timeout, and not an unreachable server."""

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    limits = replace(QUICK, response_timeout_s=0.3, state_response_timeout_s=0.3)
    async with (
        https_peer(server_context(ca, ["127.0.0.1"]), silent) as peer,
        federation(limits=limits) as ours,
    ):
        server = ServerName(peer.authority)
        assert (await outcome_of(ours.client.event(server, EVENT))).outcome is Outcome.TIMEOUT
        assert (await outcome_of(collect(ours.client, server))).outcome is Outcome.TIMEOUT


async def test_a_truncated_body_is_invalid(ca: trustme.CA, federation: OpenFederation) -> None:
    """A body that ends early is never taken for a whole one."""

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"pdus":[{}')
        assert request.transport is not None
        request.transport.close()
        return response

    async with https_peer(server_context(ca, ["127.0.0.1"]), cut) as peer, federation(limits=QUICK) as ours:
        server = ServerName(peer.authority)
        assert (await outcome_of(collect(ours.client, server))).outcome is Outcome.INVALID
        assert (await outcome_of(ours.client.state_ids(server, ROOM, EVENT))).outcome is Outcome.INVALID


async def test_the_readers_own_time_is_not_the_servers(ca: trustme.CA, federation: OpenFederation) -> None:
    """A slow consumer does not make the peer slow."""
    body = b'{"pdus":[' + b",".join([b'{"a":"%s"}' % (b"x" * 100)] * 1000) + b'],"auth_chain":[]}'
    async with https_peer(server_context(ca, ["127.0.0.1"]), bytes_answer(body)) as peer:
        limits = replace(QUICK, progress_window_s=0.2, state_total_timeout_s=0.2)
        async with federation(limits=limits) as ours:
            count = 0
            async with aclosing(ours.client.state(ServerName(peer.authority), ROOM, EVENT)) as arrivals:
                async for elements in arrivals:
                    if count == 0:
                        await asyncio.sleep(0.4)
                    count += len(elements)
    assert count == 1000


async def test_a_stream_given_up_gives_its_connection_back(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Closing the stream early frees its slot at once."""
    limits = replace(QUICK, connections_per_destination=1)
    answer = dripping(b'{"pdus":[{},{},{}', b" " * 2000, 0.01)
    async with (
        https_peer(server_context(ca, ["127.0.0.1"]), answer) as peer,
        federation(limits=limits) as ours,
    ):
        server = ServerName(peer.authority)
        for _ in range(3):
            async with aclosing(ours.client.state(server, ROOM, EVENT)) as arrivals:
                assert (await anext(arrivals))[0] == ("pdus", b"{}", {})
        peer.answer = json_answer({"pdu_ids": [], "auth_chain_ids": []})
        assert (await ours.client.state_ids(server, ROOM, EVENT)).pdu_ids == ()


async def test_small_calls_share_a_connection(ca: trustme.CA, federation: OpenFederation) -> None:
    """Requests in a row go over one connection."""
    ports: set[int] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.json_response({"pdus": [{}]})

    async with https_peer(server_context(ca, ["127.0.0.1"]), answer) as peer, federation() as ours:
        for _ in range(5):
            await ours.client.event(ServerName(peer.authority), EVENT)
    assert len(ports) == 1
