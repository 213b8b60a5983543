"""The authorisation of an event on its arrival: by the auth events that it claims, and by the state before it.

Source: server-server API v1.19, "Checks performed on receipt of a PDU", checks 4 and 5; MSC3902, "Checks on incoming
events" for a room whose state is partial.
"""

from collections.abc import Container, Mapping

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_graph import auth_events_of, rests_on_itself
from partialstate_service.matrix.event import Event, StateKey, StateMap
from partialstate_service.matrix.event_auth import AuthRejectionError, AuthRule, check_auth, check_auth_by
from partialstate_service.matrix.resolved_state import ResolvedState
from partialstate_service.matrix.state_res import resolve


def check_by_auth_events(
    event: Event, events: Mapping[EventId, Event], rejected: Container[EventId] = frozenset()
) -> None:
    """Check 4: raise `AuthRejectionError` unless the event may claim its auth events and they allow it.

    Raises `MissingEventError` for an auth event that *events* lacks: such an event is fetched, not rejected.
    """
    auth_events = auth_events_of(event, events)
    if rests_on_itself(event, events):
        raise AuthRejectionError(AuthRule.AUTH_EVENTS_REJECTED, "an auth event of it rests on it")
    check_auth_by(event, auth_events, rejected)


def check_incoming(
    event: Event,
    state_before: StateMap,
    events: Mapping[EventId, Event],
    rejected: Container[EventId] = frozenset(),
) -> None:
    """Check 4 and, as MSC3902 changes it for partial state, 5: raise `AuthRejectionError` unless both allow the event.

    The state before the event lacks most memberships, the sender's as likely as not, while the claimed auth events
    alone would let a banned user choose old ones. So the event is authorised by the resolution of both. The verdict
    is provisional: a membership that the partial state lacks may change it. Check 6, on the current state, is left out
    as long as the room is partial.

    *events* holds both and their auth chains, else `MissingEventError` is raised.
    """
    check_by_auth_events(event, events, rejected)
    claimed: dict[StateKey, EventId] = {
        key: auth_event.event_id
        for auth_event in auth_events_of(event, events)
        if (key := _key(auth_event)) is not None
    }
    state = resolve(event.room_version, [state_before, claimed], events, rejected)
    check_auth(event, ResolvedState(state, events, rejected))


def _key(event: Event) -> StateKey | None:
    return None if event.state_key is None else (event.type, event.state_key)
