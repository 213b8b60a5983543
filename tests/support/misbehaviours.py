"""The zoo: each way in which a resident server goes wrong, and what is to be noted of it.

One row is one kind of server. `outcomes` are what the room's account may say of it in the end; "ok" stands for a
misbehaviour that harms nobody, because what it spoils is had from elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from partialstate_service.demo.resident import behaviour, breaking, lies
from partialstate_service.demo.resident.behaviour import Behaviour, Lying, Refusing
from partialstate_service.demo.resident.listener import SimulatedResidents
from partialstate_service.demo.world import World
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.protocol import FederationLimits
from support.forked_rooms import LeavesOut

Change = Callable[[dict[str, Any]], None]

STATE, STATE_IDS, EVENT = Endpoint.STATE, Endpoint.STATE_IDS, Endpoint.EVENT

# Limits of real life, some hundred times smaller: a small room's honest answers fit in.
IMPATIENT_LIMITS = FederationLimits(
    connect_timeout_s=2.0,
    response_timeout_s=0.6,
    state_response_timeout_s=0.8,
    state_total_timeout_s=6.0,
    progress_window_s=0.5,
    min_progress_bytes=512,
    max_state_body_bytes=20_000_000,
    max_ids_body_bytes=500_000,
)


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One way to go wrong."""

    name: str
    make: Callable[[World], Behaviour]
    outcomes: Sequence[str]
    endpoints: Sequence[Endpoint] = field(default=(STATE, STATE_IDS))

    def infect(self, residents: SimulatedResidents, server: ServerName) -> None:
        """Let *server* behave like this from now on."""
        residents.behave(server, self.make(residents.world), *self.endpoints)


def _lies(name: str, change: Change, *outcomes: str) -> Misbehaviour:
    return Misbehaviour(name, lambda _: Lying(change), outcomes)


def _refuses(name: str, status: int, errcode: str, outcome: str) -> Misbehaviour:
    return Misbehaviour(name, lambda _: Refusing(status, errcode), (outcome,))


def _first_message(world: World) -> lies.AddsToState:
    message = next(event for event in world.room.events.values() if event.state_key is None)
    return lies.AddsToState(world.room, message.event_id)


def _former_name(world: World) -> lies.AddsToState:
    names = [event for event in world.room.events.values() if event.type == "m.room.name"]
    return lies.AddsToState(world.room, names[0].event_id)


def rename(world: World) -> None:
    """Give the room another name, so that it has two state events of which one is in the state."""
    creator = world.room.current_state()["m.room.create", ""]
    sender = world.room.event(creator).sender
    world.room.say(world.creator, sender, "m.room.name", {"name": "A bigger room"}, "", now_ms=world.tick())
    world.message(world.creator, "The state that a join asks for is the one before this")


MISBEHAVIOURS: Sequence[Misbehaviour] = (
    Misbehaviour("unable", lambda _: behaviour.unable(), ("unable",)),
    Misbehaviour("forbidden", lambda _: behaviour.forbidden(), ("forbidden",)),
    Misbehaviour("rate_limited", lambda _: behaviour.rate_limited(2), ("rate_limited",)),
    _refuses("not_found", 404, "M_NOT_FOUND", "not_found"),
    _refuses("unauthorised", 401, "M_UNAUTHORIZED", "unauthorised"),
    _refuses("server_error", 500, "M_UNKNOWN", "server_error"),
    _refuses("bad_gateway", 502, "M_UNKNOWN", "server_error"),
    _refuses("unrecognised", 404, "M_UNRECOGNIZED", "unsupported"),
    Misbehaviour("hangs_up", lambda _: breaking.HangingUp(), ("unreachable",), (STATE, STATE_IDS, EVENT)),
    Misbehaviour("silent", lambda _: behaviour.Slow(3600), ("timeout",)),
    Misbehaviour("silent_on_state", lambda _: behaviour.Slow(3600), ("timeout",), (STATE,)),
    Misbehaviour("drips", lambda _: breaking.Dripping(0.05), ("timeout",)),
    Misbehaviour("truncates", lambda _: breaking.Truncating(), ("unreachable", "invalid")),
    Misbehaviour("truncates_state", lambda _: breaking.Truncating(0.7), ("unreachable", "invalid"), (STATE,)),
    Misbehaviour("endless_ids", lambda _: breaking.Endless(), ("too_large", "timeout", "invalid")),
    Misbehaviour("endless_state", lambda _: breaking.Endless(), ("too_large", "invalid"), (STATE,)),
    Misbehaviour("no_json", lambda _: behaviour.Saying(b"<html>"), ("invalid",), (STATE, STATE_IDS, EVENT)),
    _lies("says_nothing", lies.says_nothing, "invalid"),
    _lies("sends_garbage", lies.sends_garbage, "invalid"),
    _lies("wrong_room", lies.names_wrong_room, "invalid"),
    _lies("bad_signatures", lies.breaks_signatures, "ok"),
    _lies("changed_content", lies.changes_content, "ok"),
    _lies("changed_membership", lies.changes_membership, "invalid"),
    _lies("repeats_events", lies.repeats_events, "ok"),
    _lies("no_auth_chain", lies.omits_auth_chain, "ok"),
    Misbehaviour("leaves_members_out", lambda world: Lying(LeavesOut(world, 3)), ("ok",)),
    Misbehaviour("message_in_state", lambda world: Lying(_first_message(world)), ("invalid",)),
    Misbehaviour("two_in_one_slot", lambda world: Lying(_former_name(world)), ("invalid",)),
)
