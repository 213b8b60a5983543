"""The decision table: one rule for every endpoint.

Sources: MSC3895 (obligations, circumstances), Matrix specification v1.19 (server ACLs, join family), MSC4370
(extremities); `protos/MSC3895.md` gives the reason of each row. An outcome is asked only for a partial room, after
the server ACL and the events' rooms.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from partialstate_service.domain import outcomes
from partialstate_service.domain.checks import CheckRequest, Decision, Facts, UnableSpelling
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.outcomes import Outcome
from partialstate_service.domain.restricted import (
    decide_restricted_join,
    decide_restricted_summary,
    decide_unrestricted,
)


class Reads(Enum):
    """What the events that a request names mean to its rule."""

    NOTHING = auto()
    """They are new, or there are none: nothing is looked up."""
    ROOMS = auto()
    """They must be of the named room, if the registry knows them at all."""
    SENT = auto()
    """The same, and it matters whether they were sent to the origin: at least one must be named."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one endpoint is decided."""

    outcome: Outcome
    """For a partial room."""
    acl: bool = False
    """Whether the specification puts the endpoint under the server ACL."""
    reads: Reads = Reads.NOTHING
    full_room: Callable[[CheckRequest, Facts, UnableSpelling], Decision] = decide_unrestricted
    """For a full room; other rooms may matter all the same."""


# The list in the specification's server ACL section, as `acl=True`. It has /send per PDU and its typing and receipt
# EDUs, which the frontend applies: refusing the whole transaction would stop all rooms of that server.
_JOIN = Rule(outcomes.join_family, acl=True, full_room=decide_restricted_join)
_JOIN_FAMILY = Rule(outcomes.join_family, acl=True)
_INVITE = Rule(outcomes.no_membership_needed, acl=True)
_OPEN = Rule(outcomes.no_membership_needed)
_STATE = Rule(outcomes.state_unknown, acl=True, reads=Reads.ROOMS)

RULES: Mapping[Endpoint, Rule] = MappingProxyType(
    {
        # Never: the answer is the state that we lack.
        Endpoint.STATE: _STATE,
        Endpoint.STATE_IDS: _STATE,
        # Only what the origin has from us.
        Endpoint.EVENT_AUTH: Rule(outcomes.sent_event, acl=True, reads=Reads.SENT),
        Endpoint.EVENT: Rule(outcomes.sent_event, reads=Reads.SENT),
        Endpoint.GET_MISSING_EVENTS: Rule(outcomes.missing_events, acl=True, reads=Reads.SENT),
        Endpoint.BACKFILL: Rule(outcomes.backfill, acl=True, reads=Reads.SENT),
        # Only what everybody may see.
        Endpoint.TIMESTAMP_TO_EVENT: Rule(outcomes.world_readable),
        Endpoint.HIERARCHY: Rule(outcomes.summary, full_room=decide_restricted_summary),
        # Membership cannot be proven. MSC4370 puts it under the ACL.
        Endpoint.EXTREMITIES: Rule(outcomes.membership_unknown, acl=True),
        # Another resident server has to do it.
        Endpoint.MAKE_JOIN: _JOIN,
        Endpoint.SEND_JOIN_V1: _JOIN,
        Endpoint.SEND_JOIN_V2: _JOIN,
        Endpoint.MAKE_KNOCK: _JOIN_FAMILY,
        Endpoint.SEND_KNOCK: _JOIN_FAMILY,
        Endpoint.MAKE_LEAVE: _JOIN_FAMILY,
        Endpoint.SEND_LEAVE_V1: _JOIN_FAMILY,
        Endpoint.SEND_LEAVE_V2: _JOIN_FAMILY,
        # Neither membership nor full state is needed.
        Endpoint.INVITE_V1: _INVITE,
        Endpoint.INVITE_V2: _INVITE,
        Endpoint.SEND: _OPEN,
        Endpoint.EXCHANGE_THIRD_PARTY_INVITE: _OPEN,
        Endpoint.THIRD_PARTY_ID_ONBIND: _OPEN,
        Endpoint.POLICY_SIGN: _OPEN,
        Endpoint.COMPLEXITY: _OPEN,
        Endpoint.PUBLIC_ROOMS: _OPEN,
        Endpoint.PUBLIC_ROOMS_FILTERED: _OPEN,
        Endpoint.QUERY_DIRECTORY: _OPEN,
        Endpoint.QUERY_PROFILE: _OPEN,
        Endpoint.QUERY: _OPEN,
        Endpoint.USER_DEVICES: _OPEN,
        Endpoint.USER_KEYS_CLAIM: _OPEN,
        Endpoint.USER_KEYS_QUERY: _OPEN,
        Endpoint.OPENID_USERINFO: _OPEN,
        Endpoint.MEDIA_DOWNLOAD: _OPEN,
        Endpoint.MEDIA_THUMBNAIL: _OPEN,
        Endpoint.VERSION: _OPEN,
        Endpoint.KEY_SERVER: _OPEN,
        Endpoint.KEY_QUERY: _OPEN,
        Endpoint.KEY_QUERY_SERVER: _OPEN,
        Endpoint.WELL_KNOWN_SERVER: _OPEN,
    }
)
