"""Finding keys: who is asked, in which order, what is believed, and what a dead server costs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trustme
from aiohttp import web
from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.key_answers import (
    MAX_KEPT_KEYS,
    agreed,
    contradicts,
    keys_of_body,
    merged,
    narrowed,
    succeeded,
)
from partialstate_service.federation.keys import KeyLimits
from partialstate_service.federation.protocol import FederationLimits
from partialstate_service.matrix.ed25519 import KeyId, SigningKey, signing_key_from_seed
from partialstate_service.matrix.keys import MAX_KEY_LIFE_MS, InvalidKeysError, ServerKeys
from partialstate_service.matrix.signing import sign_json
from support.https_peer import HttpsPeer, by_path, bytes_answer, https_peer, json_answer
from support.tls import server_context
from unpaddedbase64 import encode_base64

from .conftest import OUR_NAME, OpenFederation

DAY_MS = 24 * 3600 * 1000
OWN = "/_matrix/key/v2/server"
QUERY = "/_matrix/key/v2/query"
QUICK = FederationLimits(discovery_timeout_s=1, connect_timeout_s=1)


def key_number(number: int) -> SigningKey:
    """Return one of many keys, all with the same id."""
    return signing_key_from_seed("k", bytes([number] * 32))


def now_ms() -> int:
    """Return the time, as the federation under test has it."""
    return int(time.time() * 1000)


def published(server: str, key: SigningKey, **changes: Any) -> dict[str, Any]:
    """Return what *server* publishes: one key, valid for a day."""
    answer = {
        "server_name": server,
        "valid_until_ts": now_ms() + DAY_MS,
        "verify_keys": {key.key_id: {"key": encode_base64(key.public)}},
        "old_verify_keys": {},
    }
    return sign_json(answer | changes, ServerName(server), key)


class Publisher:
    """A server with a key of its own, which is a notary for whatever `knows`."""

    def __init__(self, peer: HttpsPeer, key: SigningKey) -> None:
        self.peer = peer
        self.key = key
        self.name = ServerName(peer.authority)
        self.knows: dict[str, list[dict[str, Any]]] = {}
        self.countersigns = True
        self.queries: list[dict[str, Any]] = []
        own = json_answer(published(self.name, key))
        peer.answer = by_path({OWN: own, QUERY: self._query})

    async def _query(self, request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["server_keys"]
        self.queries.append(asked)
        answers = [answer for server in asked for answer in self.knows.get(server, [])]
        if self.countersigns:
            answers = [sign_json(answer, self.name, self.key) for answer in answers]
        return web.json_response({"server_keys": answers})


@asynccontextmanager
async def publishers(ca: trustme.CA, count: int) -> AsyncIterator[list[Publisher]]:
    """Yield *count* servers with different keys."""
    context = server_context(ca, ["127.0.0.1"])
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(https_peer(context)) for _ in range(count)]
        yield [Publisher(peer, key_number(number + 1)) for number, peer in enumerate(peers)]


async def found(
    ours: Any, *servers: str, until: int = 0, also_ask: Sequence[ServerName] = ()
) -> dict[str, bytes]:
    """Return the key bytes of the current key of each of *servers* that has one."""
    keys = await ours.keys.keys_for(dict.fromkeys(map(ServerName, servers), until), also_ask=also_ask)
    return {server: next(iter(each.verify_keys.values())) for server, each in keys.items()}


async def test_a_server_says_itself_and_is_remembered(ca: trustme.CA, federation: OpenFederation) -> None:
    """Directly, unsigned, once."""
    async with publishers(ca, 1) as (server,), federation() as ours:
        assert await found(ours, server.name) == {server.name: server.key.public}
        assert await found(ours, server.name, until=now_ms()) == {server.name: server.key.public}
        assert server.peer.paths == [OWN]
        assert "Authorization" not in server.peer.seen[0].headers


async def test_our_own_key_is_known_without_asking(federation: OpenFederation, our_key: SigningKey) -> None:
    """A room that is joined again has old events of ours."""
    async with federation() as ours:
        assert await found(ours, OUR_NAME, until=now_ms()) == {OUR_NAME: our_key.public}


async def test_a_notary_is_asked_for_many_servers_in_one_request(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Dead servers whose keys a notary has are never connected to; `minimum_valid_until_ts` goes with each key."""
    async with publishers(ca, 1) as (notary,), federation(key_servers=[notary.name], limits=QUICK) as ours:
        names = [f"dead{number}.example" for number in range(30)]
        notary.knows = {name: [published(name, key_number(number + 50))] for number, name in enumerate(names)}
        wanted = dict.fromkeys(map(ServerName, names), 5)
        key_ids = {ServerName(names[0]): [KeyId("ed25519:k")]}
        keys = await ours.keys.keys_for(wanted, key_ids=key_ids)
        assert {name: each.verify_keys[KeyId("ed25519:k")] for name, each in keys.items()} == {
            name: key_number(number + 50).public for number, name in enumerate(names)
        }
        assert notary.peer.paths == [OWN, QUERY]
        (query,) = notary.queries
        assert query.pop(names[0]) == {"ed25519:k": {"minimum_valid_until_ts": 5}}
        assert query == {name: {} for name in names[1:]}


async def test_a_notary_is_believed_with_both_signatures_only(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """No countersignature, another server's keys, a forged self-signature: nothing is taken."""
    async with publishers(ca, 1) as (notary,), federation(key_servers=[notary.name], limits=QUICK) as ours:
        good = published("good.example", key_number(50))
        forged = published("forged.example", key_number(51)) | {"valid_until_ts": now_ms() + 2 * DAY_MS}
        unasked = published("unasked.example", key_number(52))
        notary.knows = {"good.example": [good, unasked], "forged.example": [forged]}
        assert await found(ours, "good.example", "forged.example") == {"good.example": key_number(50).public}
        notary.countersigns = False
        notary.knows = {"bare.example": [published("bare.example", key_number(53))]}
        assert await found(ours, "bare.example") == {}


async def test_what_no_notary_has_is_asked_for_directly(ca: trustme.CA, federation: OpenFederation) -> None:
    """A notary that is down, or knows nothing, costs one attempt."""
    async with publishers(ca, 2) as (notary, server):
        dead = ServerName("dead.example")
        async with federation(key_servers=[dead, notary.name], limits=QUICK) as ours:
            assert await found(ours, server.name) == {server.name: server.key.public}
            assert len(notary.queries) == 1


async def test_a_dead_server_is_not_asked_again_for_a_while(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """The second search costs nothing."""
    async with publishers(ca, 1) as (server,), federation() as ours:
        server.peer.answer = bytes_answer(b"", 500)
        assert await found(ours, server.name) == {}
        assert await found(ours, server.name) == {}
        assert server.peer.paths == [OWN]


async def test_keys_that_ended_are_fetched_anew_and_the_old_ones_kept(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """A key that the server no longer lists was good until it ended."""
    async with publishers(ca, 1) as (server,), federation() as ours:
        ended = now_ms() - DAY_MS
        server.peer.answer = json_answer(published(server.name, server.key, valid_until_ts=ended))
        assert await found(ours, server.name, until=ended) == {server.name: server.key.public}
        new = signing_key_from_seed("new", bytes([9] * 32))
        server.peer.answer = json_answer(published(server.name, new))
        keys = (await ours.keys.keys_for({server.name: now_ms()}))[server.name]
        assert keys.verify_keys == {new.key_id: new.public}
        assert keys.old_verify_keys == {server.key.key_id: (server.key.public, ended)}
        assert server.peer.paths == [OWN, OWN]


async def test_a_server_revokes_a_key_that_was_to_be_good_for_longer(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Also where it says of its new keys that they end before."""
    async with publishers(ca, 1) as (server,), federation() as ours:
        later = now_ms() + 2 * DAY_MS
        server.peer.answer = json_answer(published(server.name, server.key, valid_until_ts=later))
        assert await found(ours, server.name) == {server.name: server.key.public}
        new = signing_key_from_seed("new", bytes([9] * 32))
        revoked = {server.key.key_id: {"key": encode_base64(server.key.public), "expired_ts": 5}}
        server.peer.answer = json_answer(published(server.name, new, old_verify_keys=revoked))
        wanted = {server.name: 0}
        keys = (await ours.keys.keys_for(wanted, key_ids={server.name: [new.key_id]}))[server.name]
        assert keys.verify_keys == {new.key_id: new.public}
        assert keys.old_verify_keys == {server.key.key_id: (server.key.public, 5)}


async def test_older_keys_are_better_than_none(ca: trustme.CA, federation: OpenFederation) -> None:
    """Keys that end too early are returned all the same, and not sought again at once."""
    async with publishers(ca, 1) as (server,), federation() as ours:
        ended = now_ms() - DAY_MS
        server.peer.answer = json_answer(published(server.name, server.key, valid_until_ts=ended))
        for _ in range(2):
            assert await found(ours, server.name, until=now_ms()) == {server.name: server.key.public}
        assert server.peer.paths == [OWN]


async def test_keys_are_valid_for_seven_days_at_most(ca: trustme.CA, federation: OpenFederation) -> None:
    """However long the server says; and a wish beyond that is no reason to ask again."""
    async with publishers(ca, 1) as (server,), federation() as ours:
        server.peer.answer = json_answer(published(server.name, server.key, valid_until_ts=2**53 - 1))
        keys = (await ours.keys.keys_for({server.name: 0}))[server.name]
        assert abs(keys.valid_until_ts - now_ms() - MAX_KEY_LIFE_MS) < 60_000


async def test_room_servers_count_only_where_two_agree(ca: trustme.CA, federation: OpenFederation) -> None:
    """Anyone can sign keys in another's name, so one room server proves nothing, and nothing is remembered."""
    dead = "dead.example"
    async with publishers(ca, 3) as (one, two, liar), federation(limits=QUICK) as ours:
        one.knows = two.knows = {dead: [published(dead, key_number(50))]}
        liar.knows = {dead: [published(dead, key_number(51))]}
        ask = [liar.name, one.name, two.name]
        assert await found(ours, dead, also_ask=ask) == {dead: key_number(50).public}
    async with publishers(ca, 2) as (one, liar), federation(limits=QUICK) as ours:
        one.knows = {dead: [published(dead, key_number(50))]}
        liar.knows = {dead: [published(dead, key_number(51))]}
        assert await found(ours, dead, also_ask=[liar.name, one.name, liar.name]) == {}


async def test_a_colluding_pair_is_outvoted_by_those_who_are_asked_after_it(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """As long as fewer than three know the server, the next ones are asked too."""
    dead = "dead.example"
    key_limits = KeyLimits(witnesses_at_once=2)
    async with publishers(ca, 5) as servers, federation(limits=QUICK, key_limits=key_limits) as ours:
        colluding, honest = servers[:2], servers[2:]
        for liar in colluding:
            liar.knows = {dead: [published(dead, key_number(51))]}
        for witness in honest:
            witness.knows = {dead: [published(dead, key_number(50))]}
        ask = [server.name for server in servers]
        assert await found(ours, dead, also_ask=ask) == {dead: key_number(50).public}
    async with publishers(ca, 3) as servers, federation(limits=QUICK, key_limits=key_limits) as ours:
        for liar in servers[:2]:
            liar.knows = {dead: [published(dead, key_number(51))]}
        ask = [server.name for server in servers]
        # The limit of it: nobody who is asked knows better.
        assert await found(ours, dead, also_ask=ask) == {dead: key_number(51).public}


async def test_hostile_answers_are_survived(ca: trustme.CA, federation: OpenFederation) -> None:
    """Directly and from a notary."""
    bodies = [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 60_000,
        b'{"server_keys": [1]}',
        b'{"server_keys": {}}',
        b'{"server_keys": [{"server_name": []}, {"server_name": {}}, {"server_name": null}]}',
        b" " * 10**6,
    ]
    async with publishers(ca, 2) as (notary, server):
        for body in bodies:
            async with federation(key_servers=[notary.name]) as ours:
                notary.peer.answer = by_path(
                    {OWN: json_answer(published(notary.name, notary.key)), QUERY: bytes_answer(body)}
                )
                server.peer.answer = bytes_answer(body)
                assert await found(ours, server.name) == {}


async def test_a_notary_that_hangs_is_left_alone_for_a_while(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Else it would cost its whole time for every batch of events."""
    asked = 0

    async def hang(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    limits = KeyLimits(notary_timeout_s=0.2)
    async with publishers(ca, 1) as (slow,), federation(key_limits=limits) as ours:
        slow.peer.answer = by_path({OWN: json_answer(published(slow.name, slow.key)), QUERY: hang})
        for name in ("one.invalid", "two.invalid"):
            assert await found(ours, name, also_ask=[slow.name]) == {}
        assert asked == 1


async def test_a_search_ends_with_its_budget(ca: trustme.CA, federation: OpenFederation) -> None:
    """Thousands of invented servers cost the budget, with what was found until then."""
    arrived = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    limits = KeyLimits(budget_s=0.5, concurrency=4)
    async with publishers(ca, 2) as (good, slow), federation(key_limits=limits) as ours:
        slow.peer.answer = hang
        names = [
            f"127.0.0.1:{slow.peer.port}",
            *(f"127.0.1.{number}:{slow.peer.port}" for number in range(200)),
        ]
        assert await found(ours, good.name, *names) == {good.name: good.key.public}
        assert arrived.is_set()


def keys_of(
    verify: dict[str, bytes], until: int, old: dict[str, tuple[bytes, int]] | None = None
) -> ServerKeys:
    """Return keys of a server."""
    return ServerKeys(
        ServerName("a.example"),
        until,
        {KeyId(key_id): public for key_id, public in verify.items()},
        {KeyId(key_id): entry for key_id, entry in (old or {}).items()},
    )


def test_the_newest_account_wins_a_merger() -> None:
    """Its keys and times stand; what only older accounts have is added as old keys."""
    assert merged(
        [
            keys_of({"k": b"1", "j": b"2"}, 100, {"o": (b"3", 50)}),
            keys_of({"k": b"9"}, 200, {"j": (b"2", 90)}),
            keys_of({"i": b"4"}, 150, {"o": (b"3", 60)}),
        ]
    ) == keys_of({"k": b"9"}, 200, {"j": (b"2", 90), "o": (b"3", 60), "i": (b"4", 150)})


def test_what_a_server_says_now_wins_whatever_it_promised_before() -> None:
    """A key that it revoked is old, though it was to be good for longer."""
    known = keys_of({"k": b"1", "j": b"2"}, 200)
    now = keys_of({"n": b"3"}, 100, {"k": (b"1", 50)})
    assert succeeded(now, [known]) == keys_of({"n": b"3"}, 100, {"k": (b"1", 50), "j": (b"2", 200)})


def test_of_a_merger_s_keys_the_needed_the_current_and_the_latest_are_kept() -> None:
    """However often a server is asked that has others each time."""
    keys = keys_of({"ed25519:first": b"1"}, 0)
    for number in range(1, 1000):
        keys = merged([keys, keys_of({f"ed25519:{number}": b"2"}, number)], [KeyId("ed25519:first")])
    assert keys.verify_keys == {"ed25519:999": b"2"}
    assert keys.key_count == MAX_KEPT_KEYS
    assert {"ed25519:first", "ed25519:998", f"ed25519:{1001 - MAX_KEPT_KEYS}"} <= keys.old_verify_keys.keys()


def test_of_an_answer_s_old_keys_the_needed_and_the_latest_are_kept() -> None:
    """Ids beyond all reason are not kept at all."""
    key = key_number(1)
    ended = {
        f"ed25519:{number}": {"key": encode_base64(key.public), "expired_ts": number} for number in range(300)
    }
    ended["ed25519:" + "x" * 1000] = {"key": encode_base64(key.public), "expired_ts": 1000}
    body = json.dumps(published("a.example", key, old_verify_keys=ended)).encode()
    keys = keys_of_body(body, ServerName("a.example"), [KeyId("ed25519:0")])
    assert keys.verify_keys == {key.key_id: key.public}
    assert keys.old_verify_keys.keys() == {"ed25519:0", *(f"ed25519:{number}" for number in range(238, 300))}


def test_an_answer_with_hundreds_of_current_keys_is_refused() -> None:
    """Each of them may have to be tried on the answer's signatures."""
    key = key_number(1)
    current = {f"ed25519:{number}": {"key": encode_base64(key.public)} for number in range(100)}
    current[key.key_id] = {"key": encode_base64(key.public)}
    body = json.dumps(published("a.example", key, verify_keys=current)).encode()
    with pytest.raises(InvalidKeysError):
        keys_of_body(body, ServerName("a.example"))


def test_keys_are_narrowed_to_those_that_are_named() -> None:
    """Current and old."""
    keys = keys_of({"k": b"1", "j": b"2"}, 200, {"o": (b"3", 90), "p": (b"4", 90)})
    assert narrowed(keys, {KeyId("j"), KeyId("o")}) == keys_of({"j": b"2"}, 200, {"o": (b"3", 90)})


def test_agreement_is_about_bytes_and_takes_the_times_that_enough_say() -> None:
    """A key id with other bytes is another key."""
    accounts = [
        keys_of({"k": b"1", "x": b"7"}, 100, {"o": (b"3", 50)}),
        keys_of({"k": b"1"}, 200, {"o": (b"3", 40)}),
        keys_of({"k": b"2"}, 50, {"o": (b"4", 10)}),
    ]
    assert agreed(accounts, 2) == keys_of({"k": b"1"}, 100, {"o": (b"3", 40)})
    assert agreed(accounts[1:], 2) is None


def test_a_rotated_key_is_old_for_all_where_not_enough_know_it_as_current() -> None:
    """It was good until the earlier of two ends."""
    accounts = [keys_of({"k": b"1"}, 100), keys_of({"j": b"2"}, 300, {"k": (b"1", 70)})]
    assert agreed(accounts, 2) == keys_of({}, 70, {"k": (b"1", 70)})


MADE_UP, TRUE = keys_of({"m": b"9"}, 500), keys_of({"t": b"1"}, 100)


@pytest.mark.parametrize(
    ("colluding", "honest", "believed"),
    [(2, 0, {"m"}), (2, 1, {"m"}), (2, 2, set()), (2, 3, {"t"}), (3, 2, {"m"}), (1, 2, {"t"}), (1, 1, set())],
)
def test_those_who_collude_must_be_more_than_those_who_know_better(
    colluding: int, honest: int, believed: set[str]
) -> None:
    """A key under an id of its own is beside the true one, and contradicts it all the same."""
    keys = agreed([MADE_UP] * colluding + [TRUE] * honest, 2)
    assert (set(keys.verify_keys) if keys is not None else set()) == believed


def test_one_witness_alone_shortens_no_key_s_life() -> None:
    """Nor does it make it longer."""
    accounts = [TRUE, TRUE, keys_of({"t": b"1"}, 3), keys_of({"t": b"1"}, 10**15)]
    assert agreed(accounts, 2) == TRUE


def test_an_account_contradicts_what_is_known_of_the_same_key() -> None:
    """New key ids contradict nothing."""
    known = keys_of({"k": b"1"}, 100, {"o": (b"3", 50)})
    assert not contradicts(keys_of({"k": b"1", "n": b"5"}, 300), known)
    assert contradicts(keys_of({"o": b"1"}, 300), known)
