"""Persisting a new event: recorded with the service first, if its state is partial."""

from partialstate import PartialEvent, Pdu, ProvisionalVerdict, RecordOutcome, event_json

from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_auth import AuthRejectionError
from partialstate_service.matrix.incoming import check_incoming
from partialstate_service.matrix.shared_state import SharedState

CHECKED_STATE = ("m.room.server_acl", "m.room.join_rules", "m.room.history_visibility")
"""The state that decisions need: where an event changes it, the service is told at once."""


async def persist_event(homeserver: Homeserver, room: HeldRoom, event: Event) -> bool:
    """Authorise and persist an event whose auth events are held; return whether it was accepted."""
    async with room.writing:
        if room.holds(event.event_id):
            return event.event_id not in room.rejected
        state, partial = room.state_for(event)
        if partial and not await _recorded(homeserver, room, event, state):
            # The room, or this event's past, became full meanwhile: compute its state again, with what is full now.
            state, partial = room.state_for(event)
        accepted = _is_allowed(room, event, state)
        room.persist(event, state, accepted=accepted, partial=partial)
        return accepted


async def _recorded(homeserver: Homeserver, room: HeldRoom, event: Event, state: SharedState) -> bool:
    accepted = _is_allowed(room, event, state)
    recorded = PartialEvent(
        pdu_of(event),
        ProvisionalVerdict.ACCEPTED if accepted else ProvisionalVerdict.REJECTED,
        _checked_state_after(room, event, state) if accepted and event.type in CHECKED_STATE else (),
    )
    answer = await homeserver.service.record_partial_events(room.room_id, [recorded])
    return answer.outcomes[0] is RecordOutcome.RECORDED


def _is_allowed(room: HeldRoom, event: Event, state: SharedState) -> bool:
    """Authorise *event* as MSC3902 has it, which for a full state comes to the ordinary check."""
    held = {**room.events, event.event_id: event}
    try:
        check_incoming(event, state, held, room.rejected)
    except AuthRejectionError:
        return False
    return True


def _checked_state_after(room: HeldRoom, event: Event, state: SharedState) -> tuple[Pdu, ...]:
    """Return what decisions need of the room's current state, once *event* is part of it."""
    assert event.state_key is not None
    after = state.with_changes({(event.type, event.state_key): event.event_id})
    others = [room.after(event_id) for event_id in room.extremities if event_id not in event.prev_event_ids]
    events = {**room.events, event.event_id: event}
    # Where branches of the room differ each candidate is named: which of them holds is not known before the resync.
    named = {candidate[slot]: None for slot in _SLOTS for candidate in (after, *others) if slot in candidate}
    return tuple(pdu_of(events[event_id]) for event_id in named)


_SLOTS = tuple((kind, "") for kind in CHECKED_STATE)


def pdu_of(event: Event) -> Pdu:
    """Return an event as the service takes it."""
    return Pdu(event_json(event.raw), event.event_id)
