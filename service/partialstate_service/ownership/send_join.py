"""The body of a send_join response, read once: structure, ids, hashes and room version, but no signatures.

Field names: Matrix specification v1.19, `PUT /send_join`; the unstable names of MSC3706 and those of its first draft,
which old servers still send.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from partialstate_service.domain.ids import (
    EventId,
    InvalidIdError,
    RoomId,
    ServerName,
    UserId,
    parse_server_name,
    parse_user_id,
    server_of,
)
from partialstate_service.matrix.canonical_json import InvalidJsonError, encode_canonical, parse_json
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.ownership.given_events import parse_given, parse_sent
from partialstate_service.ownership.refusals import InputFlaw, RefusedInputError, require_at_most

MAX_SERVERS = 100_000
"""Servers in a room; the largest rooms have some ten thousand."""
MAX_MALFORMED = 1000
"""How many events may be left out: each costs time, and a response can be full of them."""

_PARTIAL_NAMES = ("members_omitted", "org.matrix.msc3706.partial_state", "partial_state")
_SERVERS_NAMES = ("servers_in_room", "org.matrix.msc3706.servers_in_room")

# Whole strings, and what is outside of them; a quotation mark alone begins a string that nothing ends.
_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},:]', re.DOTALL)
_OPENING = (b"[", b"{")
_CLOSING = (b"]", b"}")
_AFTER_VALUE = (b",", *_CLOSING)
# In place of a value that is no JSON: neither an event nor a server's name.
_NO_VALUE = ""


@dataclass(frozen=True, slots=True)
class JoinHeader:
    """What the homeserver knows of a partial join beside the response."""

    room_id: RoomId
    version: RoomVersion
    join_event: bytes
    joined_via: ServerName
    omit_members_requested: bool


@dataclass(frozen=True, slots=True)
class JoinedRoom:
    """What a send_join response says of the room."""

    join: Event
    state: Sequence[Event]
    auth_chain: Sequence[Event]
    """Without what is in `state`."""
    servers: tuple[ServerName, ...]
    """Servers to resync from, without ourselves; `joined_via` is one of them."""


def read_send_join(header: JoinHeader, body: bytes, us: ServerName) -> JoinedRoom:
    """Return what *body* says, or raise `RefusedInputError`, each flaw with its own reason.

    Events of the state and the auth chain that are malformed are left out: the resync fetches what it needs from
    whoever has it. A missing or malformed create event, and any event of another room, refuse the whole response.
    """
    response = _read_object(body)
    # Before anything is read by the rules of a version that may not be the room's.
    _require_version_of(response, header.version)
    sent = require_our_join(
        parse_given(header.join_event, header.version, header.room_id, "header.join_event"), us
    )
    if not any(response.get(name) is True for name in _PARTIAL_NAMES):
        raise RefusedInputError(
            InputFlaw.RESPONSE_NOT_PARTIAL, "the response omits no members: persist it as a full join"
        )
    if not header.omit_members_requested:
        raise RefusedInputError(
            InputFlaw.MEMBERS_OMITTED_UNASKED,
            "the response omits members though omit_members=true was not asked for: refuse the join",
        )
    # Whoever answered is in the room: a list of ourselves alone is no answer to believe.
    others = candidate_servers(_servers_in_room(response), us)
    servers = candidate_servers((*others, header.joined_via), us)
    state = _events(response, "state", header)
    require_create_event(state.values(), header.version)
    chain = _events(response, "auth_chain", header)
    return JoinedRoom(
        join=_join_that_counts(response, sent, header, us),
        state=tuple(state.values()),
        auth_chain=tuple(event for event_id, event in chain.items() if event_id not in state),
        servers=servers,
    )


def require_our_join(event: Event, us: ServerName) -> Event:
    """Return *event* if it is the join of one of our users to itself, else refuse with NOT_OUR_JOIN."""
    if not event.hash_matches:
        raise RefusedInputError(
            InputFlaw.INVALID_EVENT, "the join event's content hash does not match", event=event.event_id
        )
    ours = (
        event.type == "m.room.member"
        and event.content.get("membership") == "join"
        and event.state_key == event.sender
        and _server_of_sender(event.sender) == us
    )
    if not ours:
        raise RefusedInputError(
            InputFlaw.NOT_OUR_JOIN, f"the event is not the join of a user of {us}", event=event.event_id
        )
    return event


def candidate_servers(names: Iterable[ServerName], us: ServerName) -> tuple[ServerName, ...]:
    """Return *names* sorted, each once, without *us*; with none left, refuse with ONLY_OURSELVES_IN_ROOM."""
    servers = tuple(sorted({*names} - {us}))
    if not servers:
        raise RefusedInputError(
            InputFlaw.ONLY_OURSELVES_IN_ROOM,
            "no server but ourselves is named: there is nobody to resync from",
        )
    return servers


def require_create_event(state: Iterable[Event], version: RoomVersion) -> None:
    """Refuse a state without a create event, or with one that is altered or of another room version."""
    create = next((event for event in state if (event.type, event.state_key) == ("m.room.create", "")), None)
    if create is None:
        raise RefusedInputError(InputFlaw.MISSING_CREATE_EVENT, "the state has no valid m.room.create event")
    if not create.hash_matches:
        raise RefusedInputError(
            InputFlaw.INVALID_EVENT, "the create event's content hash does not match", event=create.event_id
        )
    _require_version(create.content, version)


def _require_version_of(response: Mapping[str, Any], version: RoomVersion) -> None:
    """Refuse with WRONG_ROOM_VERSION if the state has a create event of another room version, however malformed."""
    state = response.get("state")
    for raw in state if isinstance(state, list) else ():
        if isinstance(raw, dict) and raw.get("type") == "m.room.create" and raw.get("state_key") == "":
            content = raw.get("content")
            if isinstance(content, dict):
                _require_version(content, version)


def _require_version(content: Mapping[str, Any], version: RoomVersion) -> None:
    # Specification, m.room.create: a room without the field has version 1.
    found = content.get("room_version", "1")
    if found != version.version:
        raise RefusedInputError(
            InputFlaw.WRONG_ROOM_VERSION,
            f"the create event says room version {found!a:.32}, the request {version}",
            given=version.version,
            found=str(found)[:32],
        )


def _read_object(body: bytes) -> Mapping[str, Any]:
    try:
        # Numbers are judged per event, by the room version.
        response = parse_json(body, strict=False)
    except InvalidJsonError:
        response = _read_without_odd_values(body)
    if not isinstance(response, dict):
        raise RefusedInputError(
            InputFlaw.TRUNCATED_RESPONSE,
            "the send_join response is not a JSON object",
            received_bytes=len(body),
        )
    return response


def _read_without_odd_values(body: bytes) -> object:
    """Return a response in which something is no JSON that we read: it makes its event malformed, and not the others."""
    try:
        return parse_json(_without_odd_values(body), strict=False)
    except InvalidJsonError as error:
        raise RefusedInputError(
            InputFlaw.TRUNCATED_RESPONSE,
            f"the send_join response is not JSON, or was cut off: {error}",
            received_bytes=len(body),
        ) from error


def _without_odd_values(body: bytes) -> bytes:
    """Return *body* with `_NO_VALUE` in place of each value that `parse_json` refuses, be it of the lists or the `event`.

    Where a value ends is told by quotation marks and brackets alone: whatever is in it, however deep, harms no other,
    and time is linear. What is not of these values stays as it is, and so do the marks between them: whether they make
    up a JSON object is for the caller to find out.
    """
    kept: list[bytes] = []
    copied = depth = 0
    begin: int | None = None  # of the value to judge, if it is one
    in_list = False
    key = b""
    for mark in _MARK.finditer(body):
        character = mark[0]
        if character == b'"':  # nothing ends this string
            break
        if begin is not None and depth == 1 + in_list and character in _AFTER_VALUE:
            value = body[begin : mark.start()]
            if value.strip() and not _is_json(value):
                kept += (body[copied:begin], encode_canonical(_NO_VALUE))
                _require_few_malformed(len(kept) // 2)
                copied = mark.start()
            begin = mark.end() if in_list and character == b"," else None
        if character in _OPENING:
            depth += 1
            if depth == 2 and character == b"[":  # noqa: PLR2004 - a list right in the object
                in_list, begin = True, mark.end()
        elif character in _CLOSING:
            depth -= 1
            in_list = in_list and depth > 1
        elif depth == 1:
            if character == b":":
                begin = mark.end() if key == b'"event"' else None
            else:
                key = character
    return b"".join((*kept, body[copied:]))


def _is_json(text: bytes) -> bool:
    try:
        parse_json(text, strict=False)
    except InvalidJsonError:
        return False
    return True


def _servers_in_room(response: Mapping[str, Any]) -> tuple[ServerName, ...]:
    """Return the valid names of the response's servers.

    A name that is no server name is passed over: rooms of old versions have users on impossible servers.
    """
    given = next((response[name] for name in _SERVERS_NAMES if name in response), None)
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise RefusedInputError(
            InputFlaw.NO_SERVERS_IN_ROOM, "servers_in_room is missing or not a list of names"
        )
    require_at_most(MAX_SERVERS, len(given), "servers_in_room")
    servers = []
    for name in given:
        try:
            servers.append(parse_server_name(name))
        except InvalidIdError:
            continue
    if not servers:
        raise RefusedInputError(InputFlaw.NO_SERVERS_IN_ROOM, "servers_in_room names no server")
    return tuple(servers)


def _events(response: Mapping[str, Any], name: str, header: JoinHeader) -> dict[EventId, Event]:
    given = response.get(name)
    if not isinstance(given, list):
        field = f"send_join_response.{name}"
        raise RefusedInputError(InputFlaw.INVALID_FIELD, f"{field} is missing or not a list", field=field)
    events: dict[EventId, Event] = {}
    malformed = 0
    for raw in given:
        if (event := parse_sent(raw, header.version, header.room_id)) is not None:
            events[event.event_id] = event
        else:
            malformed += 1
            _require_few_malformed(malformed)
    return events


def _require_few_malformed(count: int) -> None:
    if count > MAX_MALFORMED:
        raise RefusedInputError(
            InputFlaw.TOO_LARGE,
            f"more than {MAX_MALFORMED} events of the send_join response are malformed",
            field="send_join_response",
            limit=MAX_MALFORMED,
        )


def _join_that_counts(response: Mapping[str, Any], sent: Event, header: JoinHeader, us: ServerName) -> Event:
    """Return the response's `event` in place of the sent join: the resident server may have added its signature.

    Signatures are outside the reference hash, so that the id stays the same; a resident server that changed
    anything else returns another event.
    """
    raw = response.get("event")
    if raw is None:
        return sent
    unreadable = RefusedInputError(
        InputFlaw.INVALID_EVENT,
        "the response's event is not JSON, or has no canonical form",
        field="send_join_response.event",
    )
    if raw == _NO_VALUE:
        raise unreadable
    try:
        data = encode_canonical(raw, strict=False)
    except InvalidJsonError as error:
        raise unreadable from error
    join = parse_given(data, header.version, header.room_id, "send_join_response.event")
    require_our_join(join, us)
    if join.sender != sent.sender:
        raise RefusedInputError(
            InputFlaw.NOT_OUR_JOIN, "the response's event is another user's", event=join.event_id
        )
    if join.event_id != sent.event_id:
        raise RefusedInputError(
            InputFlaw.EVENT_ID_MISMATCH,
            "the response's event is another one than the join that was sent",
            field="send_join_response.event",
            given=sent.event_id,
            computed=join.event_id,
        )
    return join


def _server_of_sender(sender: UserId) -> ServerName | None:
    try:
        return server_of(parse_user_id(sender))
    except InvalidIdError:
        return None
