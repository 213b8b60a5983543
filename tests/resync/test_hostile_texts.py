"""What peers call things gets into no log and no account unescaped or at length, and stalls fill no log."""

import asyncio
import re
from pathlib import Path

import pytest
import structlog
from partialstate_service.demo.resident.behaviour import Behaviour, Lying, Refusing
from partialstate_service.demo.resident.lies import breaks_signatures
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.ids import EventId
from partialstate_service.domain.rooms import Progress, RoomStatus
from partialstate_service.matrix import event_auth
from partialstate_service.matrix.event_auth import AuthRejectionError, AuthRule
from partialstate_service.matrix.parsing import parse_event
from partialstate_service.matrix.signing import sign_event
from partialstate_service.ownership.registration import recorded
from support.forked_rooms import Adds
from support.misbehaviours import EVENT, STATE, STATE_IDS
from support.resyncing import now_ms, resyncing

SMALL = WorldSize(members=40, servers=4, messages=3)
HOSTILE = "x\n2026-01-01 [error] forged\x1b[2J\x9b\u202e\x07" + "é" * 50
# Control characters are in no id that is read at all.
LONG_ID = EventId("$" + "é%<b>'" * 35)
PLAIN = re.compile(r"[ -~…]*")
MAX_CHARS = 300
MATRIX = Path(event_auth.__file__).parent


def texts_of(progress: Progress) -> list[str]:
    return [
        progress.last_failure,
        *progress.findings,
        *(text for record in progress.servers for text in (record.outcome, record.detail)),
    ]


def assert_harmless(texts: list[str]) -> None:
    for text in texts:
        assert PLAIN.fullmatch(text), text
        assert len(text) <= MAX_CHARS, text


def names_long_ids(body):
    """Name an event in the state, and another in its auth chain, that nobody has."""
    if "pdu_ids" in body:
        body["pdu_ids"].append(LONG_ID)
        body["auth_chain_ids"].append(LONG_ID + "z")


def names_hostile_ids(body):
    """Name what is no id."""
    if "pdu_ids" in body:
        body["pdu_ids"].append("$" + HOSTILE)


def repeats_hostile_slots(world):
    """Put two events of a hostile type and state key into the state."""
    creator = world.creator
    adds = [Adds(world, creator, "u0", HOSTILE, HOSTILE, number=number) for number in range(2)]

    def change(body):
        for add in adds:
            add(body)

    return change


HOSTILITIES = [
    lambda _: Refusing(500, HOSTILE),
    lambda _: Lying(names_long_ids),
    lambda _: Lying(names_hostile_ids),
    lambda world: Lying(repeats_hostile_slots(world)),
]


@pytest.mark.parametrize("hostility", HOSTILITIES)
async def test_a_stall_is_told_in_plain_words_and_in_one_line(store, tmp_path, hostility):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world = resync.running.world
        behaviour: Behaviour = hostility(world)
        for server in world.servers:
            resync.running.residents.behave(server.name, behaviour, STATE, STATE_IDS)
        with structlog.testing.capture_logs() as entries:
            joined = await resync.join()
            room = await resync.until(joined.room_id, RoomStatus.STALLED)
            await resync.stop_workers()
        assert len(entries) <= room.progress.attempts + 1
        assert_harmless(texts_of(room.progress))
        assert_harmless([str(value) for entry in entries for value in entry.values()])
        assert room.progress.last_failure


async def test_an_invented_prev_event_is_named_in_plain_words(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world = resync.running.world
        author = world.servers[1]
        joined = await resync.join()
        raw = world.room.template(author.user("u1"), HOSTILE[:40], {}, None, world.tick())
        raw["prev_events"] = [LONG_ID]
        raw = sign_event(raw, world.room.version, author.name, author.key)
        event = recorded(parse_event(raw, world.room.version), accepted=True)
        with structlog.testing.capture_logs() as entries:
            await store.registry.record_partial_events(joined.room_id, [event], now_ms())
            room = await resync.until(joined.room_id, RoomStatus.STALLED)
            await resync.stop_workers()
        assert_harmless(texts_of(room.progress))
        assert_harmless([str(value) for entry in entries for value in entry.values()])


async def test_hundreds_of_bad_events_are_not_a_line_each(store, tmp_path):
    size = WorldSize(members=400, servers=3, messages=1)
    async with resyncing(size, store, tmp_path) as resync:
        for server in resync.running.world.servers:
            resync.running.residents.behave(server.name, Lying(breaks_signatures), STATE)
            resync.running.residents.behave(server.name, Refusing(404, "M_NOT_FOUND"), EVENT)
        with structlog.testing.capture_logs() as entries:
            joined = await resync.join()
            async with asyncio.timeout(30):
                with store.mirror.waking(joined.room_id) as changed:
                    while (room := await store.registry.get(joined.room_id)).progress.attempts < 2:
                        await changed.wait(1.0)
            await resync.stop_workers()
        assert len(entries) <= room.progress.attempts + 1


def test_a_rejection_is_short_whatever_the_numbers_in_it_are():
    assert len(str(AuthRejectionError(AuthRule.REQUIRED_LEVEL, "9" * 4000))) <= MAX_CHARS + 40


PEER_VALUES = (
    r"sender|target|room_id|event_id|state_key|type|voucher|domain|membership|user|key|value|redacts|rule"
)


def test_no_text_of_a_rejection_shows_a_peer_s_value_as_it_is():
    sources = {path.name: path.read_text() for path in MATRIX.glob("*auth*.py")}
    assert "auth_membership.py" in sources
    shown = re.compile(rf"\{{(?:\w+\.)*(?:{PEER_VALUES})(?:\[[^]]*\])?\}}")
    raw = [(name, found) for name, text in sources.items() for found in shown.findall(text)]
    assert raw == []
