"""The redaction algorithm of each room version (specification v1.19, room versions, "Redactions").

Redacting decides what an event's id and signatures cover, so every server must do it alike. Followed where the
specification leaves room: from version 11 a `third_party_invite` object stays, if only as `{}`, when it has no `signed`
key (Synapse does so, and the event id depends on it); from version 12 a create event loses its `room_id`.
"""

from collections.abc import Mapping
from typing import Any, Final

from partialstate_service.matrix.event import JsonObject
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, RoomVersion

_TOP_LEVEL: Final = (
    "auth_events",
    "depth",
    "event_id",
    "hashes",
    "origin_server_ts",
    "prev_events",
    "room_id",
    "sender",
    "signatures",
    "state_key",
    "type",
)
# Room versions 1-10 also keep these.
_OLD_TOP_LEVEL: Final = (*_TOP_LEVEL, "membership", "origin", "prev_state")

_POWER_LEVELS: Final = (
    "ban",
    "events",
    "events_default",
    "kick",
    "redact",
    "state_default",
    "users",
    "users_default",
)


def redact(raw: JsonObject, version: RoomVersion) -> dict[str, Any]:
    """Return what redaction leaves of *raw*. The result shares its values with *raw*; `unsigned` is dropped."""
    updated = version.updated_redaction_rules
    redacted = {key: raw[key] for key in (_TOP_LEVEL if updated else _OLD_TOP_LEVEL) if key in raw}
    event_type = raw.get("type")
    content = raw.get("content")
    redacted["content"] = _redact_content(event_type, content, version) if isinstance(content, dict) else {}
    if version.room_ids_as_hashes and event_type == "m.room.create":
        redacted.pop("room_id", None)
    return redacted


def _redact_content(event_type: object, content: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
    updated = version.updated_redaction_rules
    if updated and event_type == "m.room.create":
        return content
    if not isinstance(event_type, str) or (kept := _KEPT_CONTENT[version.version].get(event_type)) is None:
        return {}
    redacted = {key: content[key] for key in kept if key in content}
    if updated and event_type == "m.room.member":
        invite = content.get("third_party_invite")
        if isinstance(invite, dict):
            redacted["third_party_invite"] = {"signed": invite["signed"]} if "signed" in invite else {}
    return redacted


def _kept_content(version: RoomVersion) -> Mapping[str, tuple[str, ...]]:
    updated = version.updated_redaction_rules
    kept = {
        "m.room.member": ("membership", "join_authorised_via_users_server")
        if version.keep_join_authorised_on_redaction
        else ("membership",),
        "m.room.create": ("creator",),
        "m.room.join_rules": ("join_rule", "allow") if version.restricted_joins else ("join_rule",),
        "m.room.power_levels": (*_POWER_LEVELS, "invite") if updated else _POWER_LEVELS,
        "m.room.history_visibility": ("history_visibility",),
    }
    if version.special_aliases:
        kept["m.room.aliases"] = ("aliases",)
    if updated:
        kept["m.room.redaction"] = ("redacts",)
    return kept


_KEPT_CONTENT: Final = {name: _kept_content(version) for name, version in ROOM_VERSIONS.items()}
"""The keys of `content` that stay, by room version and event type."""
