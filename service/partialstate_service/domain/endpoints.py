"""Every operation of the server-server API, as data.

Source: Matrix specification v1.19, server-server API, in the order of its sections; then the two first versions
of operations that are gone from the specification but still called, and the unstable operations that homeservers
serve. The members' names are the names of `partialstate.v1.Endpoint` without its prefix.
"""

from enum import Enum
from typing import NamedTuple


class Operation(NamedTuple):
    """The HTTP method and the path template of one operation."""

    method: str
    path: str


class Endpoint(Enum):
    """One operation of the server-server API; the value is its method and path template."""

    # Each is one object. The hash of `Enum` is written in Python, and a check looks endpoints up many times.
    __hash__ = object.__hash__

    WELL_KNOWN_SERVER = Operation("GET", "/.well-known/matrix/server")
    VERSION = Operation("GET", "/_matrix/federation/v1/version")
    KEY_SERVER = Operation("GET", "/_matrix/key/v2/server")
    KEY_QUERY = Operation("POST", "/_matrix/key/v2/query")
    KEY_QUERY_SERVER = Operation("GET", "/_matrix/key/v2/query/{serverName}")
    SEND = Operation("PUT", "/_matrix/federation/v1/send/{txnId}")
    POLICY_SIGN = Operation("POST", "/_matrix/policy/v1/sign")
    EVENT_AUTH = Operation("GET", "/_matrix/federation/v1/event_auth/{roomId}/{eventId}")
    BACKFILL = Operation("GET", "/_matrix/federation/v1/backfill/{roomId}")
    GET_MISSING_EVENTS = Operation("POST", "/_matrix/federation/v1/get_missing_events/{roomId}")
    EVENT = Operation("GET", "/_matrix/federation/v1/event/{eventId}")
    STATE = Operation("GET", "/_matrix/federation/v1/state/{roomId}")
    STATE_IDS = Operation("GET", "/_matrix/federation/v1/state_ids/{roomId}")
    TIMESTAMP_TO_EVENT = Operation("GET", "/_matrix/federation/v1/timestamp_to_event/{roomId}")
    MAKE_JOIN = Operation("GET", "/_matrix/federation/v1/make_join/{roomId}/{userId}")
    SEND_JOIN_V2 = Operation("PUT", "/_matrix/federation/v2/send_join/{roomId}/{eventId}")
    MAKE_KNOCK = Operation("GET", "/_matrix/federation/v1/make_knock/{roomId}/{userId}")
    SEND_KNOCK = Operation("PUT", "/_matrix/federation/v1/send_knock/{roomId}/{eventId}")
    INVITE_V1 = Operation("PUT", "/_matrix/federation/v1/invite/{roomId}/{eventId}")
    INVITE_V2 = Operation("PUT", "/_matrix/federation/v2/invite/{roomId}/{eventId}")
    MAKE_LEAVE = Operation("GET", "/_matrix/federation/v1/make_leave/{roomId}/{userId}")
    SEND_LEAVE_V2 = Operation("PUT", "/_matrix/federation/v2/send_leave/{roomId}/{eventId}")
    THIRD_PARTY_ID_ONBIND = Operation("PUT", "/_matrix/federation/v1/3pid/onbind")
    EXCHANGE_THIRD_PARTY_INVITE = Operation(
        "PUT", "/_matrix/federation/v1/exchange_third_party_invite/{roomId}"
    )
    PUBLIC_ROOMS = Operation("GET", "/_matrix/federation/v1/publicRooms")
    PUBLIC_ROOMS_FILTERED = Operation("POST", "/_matrix/federation/v1/publicRooms")
    HIERARCHY = Operation("GET", "/_matrix/federation/v1/hierarchy/{roomId}")
    QUERY_DIRECTORY = Operation("GET", "/_matrix/federation/v1/query/directory")
    QUERY_PROFILE = Operation("GET", "/_matrix/federation/v1/query/profile")
    QUERY = Operation("GET", "/_matrix/federation/v1/query/{queryType}")
    OPENID_USERINFO = Operation("GET", "/_matrix/federation/v1/openid/userinfo")
    USER_DEVICES = Operation("GET", "/_matrix/federation/v1/user/devices/{userId}")
    USER_KEYS_CLAIM = Operation("POST", "/_matrix/federation/v1/user/keys/claim")
    USER_KEYS_QUERY = Operation("POST", "/_matrix/federation/v1/user/keys/query")
    MEDIA_DOWNLOAD = Operation("GET", "/_matrix/federation/v1/media/download/{mediaId}")
    MEDIA_THUMBNAIL = Operation("GET", "/_matrix/federation/v1/media/thumbnail/{mediaId}")

    # Gone from the specification, still served and called.
    SEND_JOIN_V1 = Operation("PUT", "/_matrix/federation/v1/send_join/{roomId}/{eventId}")
    SEND_LEAVE_V1 = Operation("PUT", "/_matrix/federation/v1/send_leave/{roomId}/{eventId}")

    # Unstable: MSC4370, and the complexity of a room before a join.
    EXTREMITIES = Operation("GET", "/_matrix/federation/unstable/org.matrix.msc4370/extremities/{roomId}")
    COMPLEXITY = Operation("GET", "/_matrix/federation/unstable/rooms/{roomId}/complexity")

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.value.method

    @property
    def path(self) -> str:
        """The path template, with the specification's parameter names in braces."""
        return self.value.path
