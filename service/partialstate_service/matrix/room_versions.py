"""The room versions as a table of capabilities (Matrix specification v1.19, "Room Versions").

Code asks a capability, never a version's number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType


class UnsupportedRoomVersionError(ValueError):
    """A room version that this library does not know."""

    def __init__(self, given: str) -> None:
        self.given = given
        supported = ", ".join(ROOM_VERSIONS)
        super().__init__(f"unsupported room version {given[:32]!a}: supported are {supported}")


class EventIdFormat(Enum):
    """Where an event's id comes from."""

    GIVEN = "given in the event (versions 1 and 2)"
    HASH_STANDARD = "reference hash, standard base64 (version 3)"
    HASH_URL_SAFE = "reference hash, URL-safe base64 (from version 4)"


class StateResolution(Enum):
    """The algorithm of state resolution."""

    V1 = "1"
    V2 = "2"
    V2_1 = "2.1"


@dataclass(frozen=True, slots=True)
class RoomVersion:
    """What a room version can do and demands. The comments name the first version with the change."""

    version: str
    event_ids: EventIdFormat
    state_resolution: StateResolution
    # 1, 2: `m.room.redaction` has an auth rule of its own, and ids have domains.
    redaction_auth_rule: bool
    # 1-5: `m.room.aliases` has an auth rule of its own and keeps `aliases` when redacted.
    special_aliases: bool
    # 5: signing keys must be valid at the event's origin_server_ts.
    enforce_key_validity: bool
    # 6: integers within ±(2^53-1), no floats; `notifications` checked in power levels.
    strict_canonical_json: bool
    limit_notifications_power_levels: bool
    # 7
    knocking: bool
    # 8
    restricted_joins: bool
    # 9: redaction keeps `join_authorised_via_users_server`.
    keep_join_authorised_on_redaction: bool
    # 10
    knock_restricted: bool
    integer_power_levels: bool
    # 11: redaction rules of MSC2174, MSC2176, MSC3989, MSC3821; the creator is the sender.
    updated_redaction_rules: bool
    implicit_room_creator: bool
    # 12: MSC4289 privileged creators, MSC4291 room ids as hashes, state resolution 2.1 (MSC4297).
    privileged_creators: bool
    room_ids_as_hashes: bool

    def __str__(self) -> str:
        return self.version


_V1 = RoomVersion(
    version="1",
    event_ids=EventIdFormat.GIVEN,
    state_resolution=StateResolution.V1,
    redaction_auth_rule=True,
    special_aliases=True,
    enforce_key_validity=False,
    strict_canonical_json=False,
    limit_notifications_power_levels=False,
    knocking=False,
    restricted_joins=False,
    keep_join_authorised_on_redaction=False,
    knock_restricted=False,
    integer_power_levels=False,
    updated_redaction_rules=False,
    implicit_room_creator=False,
    privileged_creators=False,
    room_ids_as_hashes=False,
)
_V2 = replace(_V1, version="2", state_resolution=StateResolution.V2)
_V3 = replace(_V2, version="3", event_ids=EventIdFormat.HASH_STANDARD, redaction_auth_rule=False)
_V4 = replace(_V3, version="4", event_ids=EventIdFormat.HASH_URL_SAFE)
_V5 = replace(_V4, version="5", enforce_key_validity=True)
_V6 = replace(
    _V5,
    version="6",
    special_aliases=False,
    strict_canonical_json=True,
    limit_notifications_power_levels=True,
)
_V7 = replace(_V6, version="7", knocking=True)
_V8 = replace(_V7, version="8", restricted_joins=True)
_V9 = replace(_V8, version="9", keep_join_authorised_on_redaction=True)
_V10 = replace(_V9, version="10", knock_restricted=True, integer_power_levels=True)
_V11 = replace(_V10, version="11", updated_redaction_rules=True, implicit_room_creator=True)
_V12 = replace(
    _V11,
    version="12",
    state_resolution=StateResolution.V2_1,
    privileged_creators=True,
    room_ids_as_hashes=True,
)

ROOM_VERSIONS: Mapping[str, RoomVersion] = MappingProxyType(
    {v.version: v for v in (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)}
)


def room_version(version: str) -> RoomVersion:
    """Return the capabilities of *version*, or raise `UnsupportedRoomVersionError`."""
    try:
        return ROOM_VERSIONS[version]
    except KeyError:
        raise UnsupportedRoomVersionError(version) from None
