"""Whose keys are sought for fetched events, and which keys go to the processes that verify them."""

import asyncio
import json

import pytest
from partialstate_service.domain.ids import RoomId, ServerName
from partialstate_service.matrix.ed25519 import KeyId, signing_key_from_seed
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.matrix.signing import sign_event
from partialstate_service.resync.verification_task import verify_chunk
from partialstate_service.resync.verifier import CHUNK_EVENTS, Verifier

ROOM = RoomId("!room:one.example")
VERSION = room_version("10")
KEY = signing_key_from_seed("k", bytes([1] * 32))
OTHER_KEY = signing_key_from_seed("other", bytes([2] * 32))
AT = 1_700_000_000_000


def member(server, number=0, key=KEY, *, sent_at=AT):
    raw = {
        "type": "m.room.member",
        "state_key": f"@u{number}:{server}",
        "room_id": ROOM,
        "sender": f"@u{number}:{server}",
        "depth": 1,
        "origin_server_ts": sent_at,
        "prev_events": [],
        "auth_events": [],
        "content": {"membership": "join"},
    }
    return sign_event(raw, VERSION, ServerName(server), key)


def body_of(event):
    return json.dumps(event, separators=(",", ":"), sort_keys=True).encode()


def id_of(event):
    (verdict,) = verify_chunk([body_of(event)], "10", ROOM, {})
    return verdict.event_id


def keys_of(server, *keys, until=AT, old=()):
    return ServerKeys(
        ServerName(server),
        until,
        {key.key_id: key.public for key in keys},
        {key.key_id: (key.public, AT) for key in old},
    )


class Published:
    """What servers publish, and who was asked."""

    def __init__(self, *accounts):
        self.accounts = {keys.server_name: keys for keys in accounts}
        self.asked = []

    async def keys_for(self, wanted, *, also_ask=(), key_ids=None):
        await asyncio.sleep(0)
        self.asked.append(sorted(wanted))
        return {server: self.accounts[server] for server in wanted if server in self.accounts}


class Chunks:
    """Verifies in this process, and remembers with which keys how many events."""

    at_once = 2

    def __init__(self):
        self.given = []

    async def verify_chunk(self, bodies, version, room_id, keys, auth_events):
        await asyncio.sleep(0)
        self.given.append((len(bodies), keys))
        return verify_chunk(bodies, version, room_id, keys, auth_events)


async def verified(verifier, *events, asked_for=None):
    if asked_for is not None:
        asked_for = {event_id: event_id for event_id in map(id_of, asked_for)}
    return await verifier.verify([body_of(event) for event in events], VERSION, ROOM, asked_for=asked_for)


async def test_keys_are_sought_only_for_what_was_asked_for():
    """Else whoever answers could make up servers by the thousand, each of them worth a search."""
    wanted, *made_up = [member(f"{number}.example") for number in range(10)]
    keys = Published(keys_of("0.example", KEY))
    result = await verified(Verifier(keys, Chunks()), *made_up, wanted, asked_for=[wanted])
    assert keys.asked == [["0.example"]]
    assert [event.event_id for event in result.valid] == [id_of(wanted)]
    assert len(result.key_unknown) == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"depth": "malformed"},
        {"signatures": {}},
        {"signatures": {"one.example": {}}},
        {"signatures": {"two.example": {"ed25519:k": "A" * 86}}},
    ],
)
async def test_no_keys_are_sought_for_what_no_key_can_mend(changes):
    keys = Published()
    result = await verified(Verifier(keys, Chunks()), member("one.example") | changes)
    assert not result.valid
    assert not result.key_unknown
    assert keys.asked == []


async def test_events_are_verified_again_only_where_keys_were_found_that_they_lacked():
    chunks = Chunks()
    verifier = Verifier(Published(keys_of("one.example", KEY), keys_of("two.example", KEY)), chunks)
    one = [member("one.example", number) for number in range(5)]
    assert len((await verified(verifier, *one)).valid) == 5
    assert len((await verified(verifier, *one)).valid) == 5
    mixed = [member("dead.example"), *one, member("two.example")]
    result = await verified(verifier, *mixed)
    assert [event.json for event in result.valid] == [body_of(event) for event in mixed[1:]]
    assert [event.json for event in result.key_unknown] == [body_of(mixed[0])]
    await verified(verifier, *mixed)
    assert [count for count, _ in chunks.given] == [5, 5, 5, 7, 2, 7]


async def test_more_events_than_a_chunk_keep_their_order():
    events = [member(f"{number % 3}.example", number) for number in range(CHUNK_EVENTS + 10)]
    chunks = Chunks()
    verifier = Verifier(Published(keys_of("0.example", KEY), keys_of("2.example", KEY)), chunks)
    result = await verified(verifier, *events)
    assert [event.json for event in result.key_unknown] == [body_of(event) for event in events[1::3]]
    assert len(result.valid) == len(events) - len(result.key_unknown)


async def test_what_is_found_for_other_events_meanwhile_counts():
    """Whether something was lacking is told before an event is verified, and not by what has come since."""
    is_found = asyncio.Event()

    class SlowAtFirst(Chunks):
        async def verify_chunk(self, bodies, version, room_id, keys, auth_events):
            if bodies == [slow] and not keys:
                await is_found.wait()
            return await super().verify_chunk(bodies, version, room_id, keys, auth_events)

    slow, quick = body_of(member("one.example", 1)), body_of(member("one.example", 2))
    keys = Published(keys_of("one.example", KEY))
    verifier = Verifier(keys, SlowAtFirst())
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(verifier.verify([slow], VERSION, ROOM))
        assert len((await verifier.verify([quick], VERSION, ROOM)).valid) == 1
        is_found.set()
    assert len(waiting.result().valid) == 1
    assert keys.asked == [["one.example"]]


async def test_a_newer_account_of_a_server_is_sought_where_the_one_at_hand_makes_a_signature_too_late():
    keys = Published(keys_of("one.example", OTHER_KEY, old=[KEY]))
    verifier = Verifier(keys, Chunks())
    late = member("one.example", sent_at=AT + 1)
    assert len((await verified(verifier, member("one.example"))).valid) == 1
    keys.accounts[ServerName("one.example")] = keys_of("one.example", KEY, until=AT + 1)
    assert len((await verified(verifier, late)).valid) == 1


async def test_verifiers_are_given_only_the_keys_that_signatures_name():
    """A server may publish many, and each chunk of events goes to another process."""
    others = [signing_key_from_seed(f"x{number}", bytes([9] * 32)) for number in range(50)]
    chunks = Chunks()
    verifier = Verifier(
        Published(keys_of("one.example", KEY, *others), keys_of("two.example", OTHER_KEY, old=[KEY])), chunks
    )
    events = [member("one.example"), member("two.example")]
    for _ in range(2):
        assert len((await verified(verifier, *events)).valid) == 2
    await verified(verifier, member("two.example", 1))
    given = [keys for _, keys in chunks.given]
    assert given[0] == {}
    both = {"one.example": keys_of("one.example", KEY), "two.example": keys_of("two.example", old=[KEY])}
    assert given[1] == given[2] == both
    assert given[3] == {"two.example": both["two.example"]}


async def test_rooms_do_not_share_what_was_found():
    """What a room's servers say of others' keys counts in their room only."""
    keys = Published(keys_of("one.example", KEY))
    verifier = Verifier(keys, Chunks())
    for _ in range(2):
        room = verifier.for_room(lambda keys: keys)
        for _ in range(2):
            assert len((await verified(room, member("one.example"))).valid) == 1
    assert len(keys.asked) == 2


async def test_made_up_key_ids_cost_nothing_beyond_a_bounded_request():
    """Signatures are no part of an event's id: a server can add any to a good event."""
    event = member("one.example")
    named = []

    class Source(Published):
        async def keys_for(self, wanted, *, also_ask=(), key_ids=None):
            named.extend(key_ids.values())
            return {}

    copies = []
    for number in range(50):
        made_up = {f"ed25519:{number}-{index}": "A" * 86 for index in range(10)} | {
            "ed25519:" + "x" * 1000: "A"
        }
        copies.append(event | {"signatures": {"one.example": made_up}})
    result = await verified(Verifier(Source(), Chunks()), *copies, asked_for=[event])
    assert len(result.key_unknown) == 50
    (key_ids,) = named
    assert len(key_ids) == 64
    assert all(len(KeyId(key_id)) < 128 for key_id in key_ids)
