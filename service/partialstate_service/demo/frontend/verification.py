"""The checks on events from other servers that need no state: format, ids, signatures, auth events."""

from collections.abc import Iterable, Sequence

from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.auth_graph import MissingEventError
from partialstate_service.matrix.event import Event, JsonObject
from partialstate_service.matrix.event_auth import AuthRejectionError
from partialstate_service.matrix.incoming import check_by_auth_events
from partialstate_service.matrix.parsing import InvalidEventError, parse_event
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.matrix.signatures import required_signers, verify_event


async def verified_events(
    homeserver: Homeserver,
    raws: Iterable[JsonObject],
    version: RoomVersion,
    room_id: RoomId,
    *,
    also_ask: Sequence[ServerName],
) -> list[Event]:
    """Return those events that are well-formed, of the room, and signed by whom they must be; drop the others.

    *also_ask* are servers that may know the keys of servers that cannot be reached.
    """
    parsed: list[Event] = []
    for raw in raws:
        try:
            parsed.append(parse_event(raw, version, room_id=room_id))
        except InvalidEventError:
            continue
    wanted: dict[ServerName, int] = {}
    for event in parsed:
        for server in required_signers(event):
            wanted[server] = max(wanted.get(server, 0), event.origin_server_ts)
    keys = await homeserver.keys.keys_for(wanted, also_ask=also_ask)
    return [event for event in parsed if verify_event(event, keys).is_valid]


def hold_outliers(room: HeldRoom, events: Iterable[Event]) -> None:
    """Keep events that are only state or auth events, in an order in which auth events come first.

    One that fails auth is kept as rejected; one with an unknown auth event is dropped.
    """
    waiting = {event.event_id: event for event in events if event.event_id not in room.events}
    for event_id in list(waiting):
        _hold_with_auth_events(room, event_id, waiting)


def _hold_with_auth_events(room: HeldRoom, event_id: EventId, waiting: dict[EventId, Event]) -> None:
    todo = [event_id]
    while todo:
        event = waiting.get(todo[-1])
        needed = [] if event is None else [auth for auth in event.auth_event_ids if auth in waiting]
        if event is not None and needed and len(todo) <= len(waiting):
            todo.extend(needed)
            continue
        todo.pop()
        if event is not None:
            del waiting[event.event_id]
            _hold(room, event)


def _hold(room: HeldRoom, event: Event) -> None:
    try:
        check_by_auth_events(event, room.events, room.rejected)
    except MissingEventError:
        return
    except AuthRejectionError:
        room.rejected.add(event.event_id)
    room.events[event.event_id] = event
