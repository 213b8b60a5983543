"""The operations of the server-server API that a frontend asks about."""

from enum import auto

from partialstate._api_name import ApiName


class Endpoint(ApiName):
    """An operation of the server-server API (Matrix specification v1.19), or an unstable one in use."""

    WELL_KNOWN_SERVER = auto()
    """GET /.well-known/matrix/server."""
    VERSION = auto()
    """GET /_matrix/federation/v1/version."""
    KEY_SERVER = auto()
    """GET /_matrix/key/v2/server."""
    KEY_QUERY = auto()
    """POST /_matrix/key/v2/query."""
    KEY_QUERY_SERVER = auto()
    """GET /_matrix/key/v2/query/{serverName}."""
    SEND = auto()
    """PUT /_matrix/federation/v1/send/{txnId}."""
    POLICY_SIGN = auto()
    """POST /_matrix/policy/v1/sign."""
    EVENT_AUTH = auto()
    """GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}."""
    BACKFILL = auto()
    """GET /_matrix/federation/v1/backfill/{roomId}."""
    GET_MISSING_EVENTS = auto()
    """POST /_matrix/federation/v1/get_missing_events/{roomId}."""
    EVENT = auto()
    """GET /_matrix/federation/v1/event/{eventId}. The event's room is looked up by the frontend."""
    STATE = auto()
    """GET /_matrix/federation/v1/state/{roomId}."""
    STATE_IDS = auto()
    """GET /_matrix/federation/v1/state_ids/{roomId}."""
    TIMESTAMP_TO_EVENT = auto()
    """GET /_matrix/federation/v1/timestamp_to_event/{roomId}."""
    MAKE_JOIN = auto()
    """GET /_matrix/federation/v1/make_join/{roomId}/{userId}."""
    SEND_JOIN_V2 = auto()
    """PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}."""
    MAKE_KNOCK = auto()
    """GET /_matrix/federation/v1/make_knock/{roomId}/{userId}."""
    SEND_KNOCK = auto()
    """PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}."""
    INVITE_V1 = auto()
    """PUT /_matrix/federation/v1/invite/{roomId}/{eventId}."""
    INVITE_V2 = auto()
    """PUT /_matrix/federation/v2/invite/{roomId}/{eventId}."""
    MAKE_LEAVE = auto()
    """GET /_matrix/federation/v1/make_leave/{roomId}/{userId}."""
    SEND_LEAVE_V2 = auto()
    """PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}."""
    THIRD_PARTY_ID_ONBIND = auto()
    """PUT /_matrix/federation/v1/3pid/onbind."""
    EXCHANGE_THIRD_PARTY_INVITE = auto()
    """PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}."""
    PUBLIC_ROOMS = auto()
    """GET /_matrix/federation/v1/publicRooms."""
    PUBLIC_ROOMS_FILTERED = auto()
    """POST /_matrix/federation/v1/publicRooms."""
    HIERARCHY = auto()
    """GET /_matrix/federation/v1/hierarchy/{roomId}."""
    QUERY_DIRECTORY = auto()
    """GET /_matrix/federation/v1/query/directory."""
    QUERY_PROFILE = auto()
    """GET /_matrix/federation/v1/query/profile."""
    QUERY = auto()
    """GET /_matrix/federation/v1/query/{queryType}."""
    OPENID_USERINFO = auto()
    """GET /_matrix/federation/v1/openid/userinfo."""
    USER_DEVICES = auto()
    """GET /_matrix/federation/v1/user/devices/{userId}."""
    USER_KEYS_CLAIM = auto()
    """POST /_matrix/federation/v1/user/keys/claim."""
    USER_KEYS_QUERY = auto()
    """POST /_matrix/federation/v1/user/keys/query."""
    MEDIA_DOWNLOAD = auto()
    """GET /_matrix/federation/v1/media/download/{mediaId}."""
    MEDIA_THUMBNAIL = auto()
    """GET /_matrix/federation/v1/media/thumbnail/{mediaId}."""
    SEND_JOIN_V1 = auto()
    """PUT /_matrix/federation/v1/send_join/{roomId}/{eventId}. Gone from the specification, still called."""
    SEND_LEAVE_V1 = auto()
    """PUT /_matrix/federation/v1/send_leave/{roomId}/{eventId}. Gone from the specification, still called."""
    EXTREMITIES = auto()
    """GET /_matrix/federation/unstable/org.matrix.msc4370/extremities/{roomId}. MSC4370."""
    COMPLEXITY = auto()
    """GET /_matrix/federation/unstable/rooms/{roomId}/complexity."""
