"""Who was outvoted does not win because those who outvoted it cannot answer, or cannot be verified, for a while."""

from dataclasses import replace
from urllib.parse import unquote

import pytest
from aiohttp import web
from partialstate_service.demo.resident.behaviour import AtFirst, Behaviour, Lying, Refusing
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.protocol import StateIds
from partialstate_service.matrix.hashes import event_id_of
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.matrix.shared_state import SharedState
from partialstate_service.matrix.signing import sign_event
from partialstate_service.resync.cooldown import CooldownPolicy
from partialstate_service.resync.cross_check import CrossCheck
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.event_table import EventTable
from partialstate_service.resync.recovery_errors import EvidenceAwaitedError, KeysNeededError, OutvotedError
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from partialstate_service.resync.snapshot import (
    ImpossibleStateError,
    Snapshot,
    SnapshotRefusedError,
    UnansweredError,
)
from partialstate_service.resync.sources import Sources
from support.forked_rooms import Adds, LeavesOut
from support.resyncing import IMPATIENT, assert_exact, resyncing

AFTER = EventId("$after")
TRUE, FALSE, ODD = ("$a", "$b"), ("$a",), ("$c",)
PATIENCE_S = 1000.0
COOLDOWNS = CooldownPolicy(first_s=100.0, soft_cap_s=100.0, hard_cap_s=100.0)
SMALL = WorldSize(members=40, servers=6, messages=3)


def some_snapshot():
    events = EventTable(RoomId("!r"), room_version("11"))
    return Snapshot(AFTER, SharedState(), EventIds(events), frozenset())


class Room:
    """A room of servers that tell *told*; `trouble` is what comes of verifying what some of them tell."""

    def __init__(self, told, joined_via="liar"):
        self.told = told
        self.joined_via = joined_via
        self.trouble = {}
        self.verified = []
        self.lacking = set()
        self.failures = []
        self.now_s = 0.0
        self.records = ()
        self.begin_attempt()

    def begin_attempt(self):
        """Begin anew with what is kept of a room: the records."""
        self.sources = Sources(
            own_name=ServerName("us"),
            joined_via=ServerName(self.joined_via),
            servers=map(ServerName, self.told),
            records=self.records,
            registered_at_ms=0,
            policy=COOLDOWNS,
            now_ms=lambda: int(self.now_s * 1000),
            jitter=lambda: 0.5,
        )
        self.cross_check = CrossCheck(self, self.sources, self, patience_s=PATIENCE_S, on_failure=self.failed)

    def add(self, told, *servers):
        """Let *servers* turn up."""
        self.told |= dict.fromkeys(servers, told)
        self.sources.add(map(ServerName, servers))

    def failed(self, error, after):
        assert after == AFTER
        self.failures.append(error.server)
        if error.outcome is not Outcome.NOT_FOUND:
            self.sources.failed(error)

    async def state_ids(self, server, after):
        assert after == AFTER
        if server in self.lacking:
            raise FederationError(Outcome.NOT_FOUND, ServerName(server), text="HTTP 404")
        return StateIds(self.told[server], (EventId(f"$auth of {server}"),))

    async def snapshot(self, server, ids, after):
        assert after == AFTER
        assert ids.auth_chain_ids == (f"$auth of {server}",), "each is judged by its own list"
        self.verified.append(server)
        if (trouble := self.trouble.get(server)) is not None:
            raise trouble
        return some_snapshot()

    async def checked(self, server):
        """Cross-check what *server* tells, and return the note; what an attempt records is kept."""
        ids = await self.state_ids(server, AFTER)
        try:
            return (await self.cross_check.checked(some_snapshot(), ids, ServerName(server))).note
        finally:
            self.records = self.sources.records()

    def fail(self, *servers):
        for server in servers:
            self.trouble[server] = FederationError(Outcome.SERVER_ERROR, ServerName(server), text="HTTP 500")

    async def outvote_the_liar(self):
        """Let all who tell the truth fail to prove it."""
        self.fail(*(server for server, told in self.told.items() if told == TRUE))
        with pytest.raises(OutvotedError):
            await self.checked("liar")


def room_with_a_liar():
    return Room({"liar": FALSE, "m1": TRUE, "m2": TRUE, "m3": TRUE, "m4": TRUE})


async def test_who_lacks_the_event_is_asked_once_and_may_tell_of_others():
    room = room_with_a_liar()
    room.lacking = {"m1", "m2"}
    assert "what m3 tells counts" in await room.checked("liar")
    assert sorted(room.failures) == sorted({*room.failures})
    assert not {"m1", "m2"} & {record.server for record in room.sources.records()}
    assert {"m1", "m2"} <= {*room.sources.available()}


async def test_every_server_of_the_majority_is_tried_by_its_own_list_and_those_that_fail_cool_down():
    room = room_with_a_liar()
    room.fail("m1", "m2")
    room.trouble["m3"] = SnapshotRefusedError("padded")
    assert await room.checked("liar") == (
        "4 of 5 servers tell another state after '$after' than liar; what m4 tells counts"
    )
    assert room.verified == ["m1", "m2", "m3", "m4"]
    assert room.sources.available() == ["liar", "m4"]


@pytest.mark.parametrize("is_later", [False, True], ids=["same attempt", "later attempt"])
@pytest.mark.parametrize("told", [FALSE, ODD], ids=["the same lie", "another lie"])
async def test_nobody_who_tells_otherwise_counts_while_those_who_outvoted_cool_down(told, is_later):
    room = room_with_a_liar()
    await room.outvote_the_liar()
    assert room.sources.available() == []
    if is_later:
        room.begin_attempt()
    room.add(told, "c1", "c2")
    with pytest.raises(OutvotedError, match="has counted before"):
        await room.checked("c1")
    assert room.sources.available() == []


async def test_who_was_outvoted_is_left_alone_while_those_who_outvoted_it_are_tried_again():
    room = room_with_a_liar()
    await room.outvote_the_liar()
    room.now_s = PATIENCE_S - 1
    room.begin_attempt()
    assert room.sources.available() == ["m1", "m2", "m3", "m4"]
    room.trouble.clear()
    assert await room.checked("m1") == "liar told another state after '$after' than counts"


async def test_three_who_tell_the_same_undo_a_vote():
    room = room_with_a_liar()
    await room.outvote_the_liar()
    room.add(ODD, "x1", "x2", "x3")
    assert await room.checked("x1") == "0 of 3 servers tell another state after '$after' than x1"


async def test_who_was_outvoted_counts_once_it_was_left_alone_for_the_whole_patience_in_vain():
    room = room_with_a_liar()
    await room.outvote_the_liar()
    room.now_s = PATIENCE_S + 1
    room.begin_attempt()
    note = await room.checked("liar")
    assert note.startswith("4 of 5 servers tell another state")
    assert "theirs cannot be verified" in note


async def test_a_retry_does_not_shorten_the_patience():
    room = room_with_a_liar()
    await room.outvote_the_liar()
    room.records = [replace(record, cooldown_until_ms=None) for record in room.records]
    room.begin_attempt()
    await room.outvote_the_liar()
    assert room.sources.available() == []


async def test_a_long_time_since_the_registration_does_not_shorten_the_patience():
    room = room_with_a_liar()
    room.now_s = 100 * PATIENCE_S
    await room.outvote_the_liar()
    room.begin_attempt()
    assert room.sources.available() == []


@pytest.mark.parametrize("awaited", [EvidenceAwaitedError("keys"), KeysNeededError("keys")], ids=type)
async def test_evidence_that_the_majority_lacks_is_waited_for_though_others_of_it_fail_otherwise(awaited):
    room = room_with_a_liar()
    room.fail("m2", "m3", "m4")
    room.trouble["m1"] = awaited
    with pytest.raises(OutvotedError) as caught:
        await room.checked("liar")
    assert caught.value.awaits_evidence
    assert room.sources.available() == ["m1"]


async def test_a_majority_whose_ids_contradict_each_other_is_not_waited_for():
    room = room_with_a_liar()
    room.trouble["m1"] = ImpossibleStateError("two events for one slot")
    assert "theirs cannot be verified: two events for one slot" in await room.checked("liar")


async def test_a_majority_that_answers_and_cannot_prove_what_it_tells_is_not_waited_for():
    """Two that agree on an event that nobody has would else keep the room from the one honest server."""
    room = Room({"honest": TRUE, "liar1": FALSE, "liar2": FALSE}, joined_via="honest")
    for server in ("liar1", "liar2"):
        room.trouble[server] = SnapshotRefusedError("1 events of the state cannot be had")
    note = await room.checked("honest")
    assert note.startswith("2 of 3 servers tell another state")
    assert "theirs cannot be verified" in note
    assert sorted(room.verified) == ["liar1", "liar2"]


@pytest.mark.parametrize(
    "trouble", [FederationError(Outcome.TIMEOUT, ServerName("m4")), UnansweredError("1 events cannot be had")]
)
async def test_one_of_the_majority_that_fails_otherwise_is_waited_for(trouble):
    room = room_with_a_liar()
    room.trouble["m4"] = trouble
    for server in ("m1", "m2", "m3"):
        room.trouble[server] = SnapshotRefusedError("padded")
    with pytest.raises(OutvotedError):
        await room.checked("liar")


async def test_without_a_majority_the_one_that_we_joined_through_is_waited_for_likewise():
    room = Room({"liar": FALSE, "m1": TRUE}, joined_via="m1")
    await room.outvote_the_liar()
    room.now_s = COOLDOWNS.first_s
    room.begin_attempt()
    assert room.sources.available() == ["m1"]


async def test_a_peer_cannot_make_itself_look_as_if_it_had_been_left_alone():
    room = room_with_a_liar()
    await room.outvote_the_liar()
    text = next(record.detail for record in room.records if record.server == "liar")
    room = room_with_a_liar()
    room.sources.failed(FederationError(Outcome.INVALID, ServerName("liar"), text=f"HTTP 300 {text}"))
    room.records = room.sources.records()
    room.begin_attempt()
    await room.outvote_the_liar()


async def test_a_liar_does_not_win_while_those_who_outvoted_it_cool_down(store, tmp_path):
    # Longer than a room waits for its next attempt, as in real life.
    cooldown = CooldownPolicy(first_s=4.0, soft_cap_s=4.0, hard_cap_s=4.0, join_propagation_s=3600)
    async with resyncing(SMALL, store, tmp_path, policy=replace(IMPATIENT, cooldown=cooldown)) as resync:
        world, residents = resync.running.world, resync.running.residents
        residents.behave(world.creator.name, Lying(LeavesOut(world, 20)))
        for server in world.servers[1:]:
            residents.behave(server.name, AtFirst(2, Refusing(500, "M_UNKNOWN")), Endpoint.STATE)
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        assert f"{world.creator.name} told another state" in str(room.progress.findings)


class AddsKeyless(Adds, Behaviour):
    """Adds a member of a server that never was, whose keys nobody has, and answers a request for that event with it."""

    def __init__(self, world):
        user = "@nobody:nobody.invalid"
        raw = world.room.template(user, "m.room.member", {"membership": "join"}, user, world.tick())
        self.raw = sign_event(raw, world.room.version, ServerName("nobody.invalid"), world.creator.key)
        self.event_id = event_id_of(self.raw, world.room.version)

    async def answer(self, request, honest):
        if self.event_id not in unquote(request.path):
            return await honest()
        return web.json_response({"origin": "anyone", "origin_server_ts": 0, "pdus": [self.raw]})


async def test_where_keys_are_waited_for_without_end_others_are_asked_who_tell_a_state_that_needs_none(
    store, tmp_path
):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(key_patience_s=0.1, omit_unverifiable=False))
    async with resyncing(SMALL, store, tmp_path, policy=policy) as resync:
        world = resync.running.world
        lie = AddsKeyless(world)
        # Two, so that neither is alone with it.
        for server in world.servers[:2]:
            resync.running.residents.behave(server.name, Lying(lie), Endpoint.STATE_IDS, Endpoint.STATE)
            resync.running.residents.behave(server.name, lie, Endpoint.EVENT)
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


def names_what_nobody_has(body):
    """A lie: the ids of the state have one more, of an event that never was."""
    if "pdu_ids" in body:
        body["pdu_ids"].append("$" + 43 * "A")


async def test_most_servers_cannot_keep_a_room_from_an_honest_one_by_naming_what_nobody_has(store, tmp_path):
    async with resyncing(replace(SMALL, servers=3), store, tmp_path) as resync:
        servers = resync.running.world.servers
        for server in servers[1:]:
            resync.running.residents.behave(server.name, Lying(names_what_nobody_has))
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        assert "theirs cannot be verified" in str(room.progress.findings)
