"""The send_join response: verified in the background, for what checks need to know of the room."""

from collections.abc import Mapping

from partialstate_service.domain.ids import EventId
from partialstate_service.domain.rooms import StateSummary
from partialstate_service.matrix.event import Event, StateMap
from partialstate_service.matrix.event_auth import claimed_auth_event_ids
from partialstate_service.resync.authorisation import auth_closure, rejected_by_auth_events
from partialstate_service.resync.event_table import EventTable

_ACL = "m.room.server_acl"
_JOIN_RULES = "m.room.join_rules"
_HISTORY_VISIBILITY = "m.room.history_visibility"


def summary_is_verified(summary: StateSummary, events: EventTable) -> bool:
    """Whether every value of *summary* is that of a verified event which its auth events allow.

    That a value is missing cannot be verified before the full state is known: as everywhere, the resident server is
    trusted not to leave out non-member state until then.
    """
    wanted = [event for event in events.values() if _is_summarised(event, summary)]
    found = _summary_of(wanted)
    if not all(
        value in theirs
        for ours, theirs in (
            (summary.acls, found.acls),
            (summary.join_rules, found.join_rules),
            (summary.history_visibilities, found.history_visibilities),
        )
        for value in ours
    ):
        return False
    closure = auth_closure([event.event_id for event in wanted], events)
    return not closure.missing and not rejected_by_auth_events(closure.held, events)


def summarise(state: StateMap, events: Mapping[EventId, Event]) -> StateSummary:
    """Return what checks need of a verified state."""
    keys = ((event_type, "") for event_type in (_ACL, _JOIN_RULES, _HISTORY_VISIBILITY))
    return _summary_of([events[state[key]] for key in keys if key in state])


def create_event_of(join: Event, candidates: Mapping[EventId, Event]) -> EventId | None:
    """Return the create event that *join* names, if it is among *candidates*."""
    for event_id in claimed_auth_event_ids(join):
        event = candidates.get(event_id)
        if event is not None and event.type == "m.room.create":
            return event_id
    return None


def _is_summarised(event: Event, summary: StateSummary) -> bool:
    if event.state_key != "":
        return False
    match event.type:
        case "m.room.server_acl":
            return event.content in summary.acls
        case "m.room.join_rules":
            return event.content in summary.join_rules
        case "m.room.history_visibility":
            return event.content.get("history_visibility") in summary.history_visibilities
        case _:
            return False


def _summary_of(events: list[Event]) -> StateSummary:
    visibilities = (
        event.content.get("history_visibility") for event in events if event.type == _HISTORY_VISIBILITY
    )
    return StateSummary(
        acls=tuple(event.content for event in events if event.type == _ACL),
        join_rules=tuple(event.content for event in events if event.type == _JOIN_RULES),
        history_visibilities=tuple(value for value in visibilities if isinstance(value, str)),
    )
