"""The core of an event: what authorisation, state resolution and summaries read of it, in about a hundred bytes.

A room of 200,000 members has as many membership events of 1 KB and more, most of it hashes, signatures, names and
pictures that nothing looks at once the event is verified and stored. Events whose whole content matters stay whole.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, TypeAlias

import orjson

from partialstate_service.domain.ids import EventId, RoomId, UserId
from partialstate_service.matrix.auth_event_list import claimed_auth_event_ids
from partialstate_service.matrix.canonical_json import encode_canonical, encode_plain, parse_json
from partialstate_service.matrix.event import Event, JsonObject
from partialstate_service.matrix.parsing import verified_event
from partialstate_service.matrix.room_versions import RoomVersion

_MEMBER: Final = "m.room.member"
_MEMBER_CONTENT: Final = ("membership", "third_party_invite", "join_authorised_via_users_server")
_WHOLE_TYPES: Final = frozenset(
    {
        "m.room.create",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.third_party_invite",
        "m.room.redaction",
        "m.room.server_acl",
        "m.room.history_visibility",
    }
)
"""All that authorisation reads other fields of than memberships, and all that `StateSummary` is made of."""
_OFTEN: Final = 5
"""How many fields every core has; the rest is left away where it is empty."""
_WHOLE: Final = b"{"
"""How a whole event begins: with its JSON object. Other cores are JSON arrays."""


PackedEvent: TypeAlias = tuple[tuple[EventId, ...], bytes]
"""The claimed auth events of an event, and its core: with its id, all that is kept of it."""


def pack_core(event: Event) -> bytes:
    """Return the core of *event*, without the id and the claimed auth events, which its holder keeps beside it."""
    if event.type in _WHOLE_TYPES:
        return encode_canonical(event.raw, strict=False)
    fields: list[Any] = [
        event.state_key,
        0 if event.sender == event.state_key else event.sender,
        event.depth,
        event.origin_server_ts,
        _content_core(event),
        0 if event.type == _MEMBER else event.type,
        # Read by one rule only: a creator may join right after the create event.
        list(event.prev_event_ids) if _follows_auth_event(event) else [],
    ]
    # The last two are seldom needed.
    while len(fields) > _OFTEN and not fields[-1]:
        fields.pop()
    # Depths and times of the early room versions can be beyond 64 bits; how a float is written does not matter here.
    return encode_plain(fields, strict=False)


def unpack_core(
    core: bytes, event_id: EventId, auth_event_ids: tuple[EventId, ...], room_id: RoomId, version: RoomVersion
) -> Event:
    """Return the event that `pack_core` was given, as far as it is kept.

    Of an event that is not whole: `raw` must not be read, `content` has what authorisation reads of it, and
    `prev_event_ids` are empty where none of them is an auth event.
    """
    if core.startswith(_WHOLE):
        return verified_event(parse_json(core, strict=False), event_id, version, room_id, hash_matches=True)
    state_key, sender, depth, sent_at, content, *rare = orjson.loads(core)
    if type(depth) is float or type(sent_at) is float:
        state_key, sender, depth, sent_at, content, *rare = parse_json(core, strict=False)
    return Event(
        event_id=event_id,
        room_id=room_id,
        type=rare[0] if rare and rare[0] else _MEMBER,
        state_key=state_key,
        sender=UserId(sender or state_key),
        depth=depth,
        origin_server_ts=sent_at,
        prev_event_ids=tuple(rare[1]) if len(rare) > 1 else (),
        auth_event_ids=auth_event_ids,
        content={"membership": content} if isinstance(content, str) else content,
        raw=_NOT_KEPT,
        room_version=version,
    )


def unpack_slot(core: bytes) -> tuple[str, str | None]:
    """Return the type and the state key of the event that `pack_core` was given."""
    fields = orjson.loads(core)
    if core.startswith(_WHOLE):
        return fields["type"], fields.get("state_key")
    return (fields[5] if len(fields) > _OFTEN and fields[5] else _MEMBER), fields[0]


def unpack_membership(core: bytes) -> object:
    """Return the `membership` in the content of the event that `pack_core` was given, if it has one."""
    fields = orjson.loads(core)
    content = fields["content"] if core.startswith(_WHOLE) else fields[4]
    return content if isinstance(content, str) else content.get("membership")


def _follows_auth_event(event: Event) -> bool:
    return not set(claimed_auth_event_ids(event)).isdisjoint(event.prev_event_ids)


def _content_core(event: Event) -> JsonObject | str:
    if event.type != _MEMBER:
        return {}
    content = {name: event.content[name] for name in _MEMBER_CONTENT if name in event.content}
    if content.keys() == {"membership"} and isinstance(content["membership"], str):
        membership: str = content["membership"]
        return membership
    return content


class NotKeptError(TypeError):
    """The JSON of an event was read of which only the core is kept; its JSON is in the store."""


class _NotKept(Mapping[str, Any]):
    """The JSON of an event of which only the core is kept: reading it is a defect, and must not look like absence."""

    def __getitem__(self, key: str) -> NoReturn:
        raise NotKeptError

    def __contains__(self, key: object) -> NoReturn:
        raise NotKeptError

    def __iter__(self) -> Iterator[str]:
        raise NotKeptError

    def __len__(self) -> int:
        raise NotKeptError


_NOT_KEPT: Final = _NotKept()
