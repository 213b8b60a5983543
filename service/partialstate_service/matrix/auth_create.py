"""Rules on the create event, and on federation with the creator's server (rules 1, 2 and 4 of version 12)."""

from partialstate_service.domain.ids import MAX_ID_BYTES, InvalidIdError, parse_server_name
from partialstate_service.matrix.auth_attempt import Attempt, domain_of, reject
from partialstate_service.matrix.auth_rule import AuthRule
from partialstate_service.matrix.room_versions import ROOM_VERSIONS


def create_has_no_prev_events(attempt: Attempt) -> bool:
    """1.1: a create event is the first event."""
    if attempt.event.prev_event_ids:
        reject(AuthRule.CREATE_PREV_EVENTS, "the create event has prev_events")
    return False


def create_room_id_has_senders_domain(attempt: Attempt) -> bool:
    """1.2 until version 11: a server makes rooms under its own name only."""
    event = attempt.event
    domain = domain_of(event.room_id)
    if domain is None or domain != domain_of(event.sender):
        reject(
            AuthRule.CREATE_ROOM_ID_DOMAIN,
            f"{event.sender!a:.64} does not make rooms like {event.room_id!a:.64}",
        )
    return False


def create_has_no_room_id(attempt: Attempt) -> bool:
    """1.2 from version 12: the room id is made from the create event, so it is not in it."""
    if "room_id" in attempt.event.raw:
        reject(AuthRule.CREATE_ROOM_ID_ABSENT, "the create event has a room_id")
    return False


def create_has_recognised_room_version(attempt: Attempt) -> bool:
    """1.3: a room that says no version is of version 1."""
    version = attempt.event.content.get("room_version", "1")
    if not isinstance(version, str) or version not in ROOM_VERSIONS:
        reject(AuthRule.CREATE_ROOM_VERSION, f"unknown room version {version!a:.32}")
    return False


def create_names_creator(attempt: Attempt) -> bool:
    """1.4 until version 10: whom `creator` names is not looked at, only that it is there."""
    if "creator" not in attempt.event.content:
        reject(AuthRule.CREATE_CREATOR, "the create event has no creator")
    return False


def create_has_valid_additional_creators(attempt: Attempt) -> bool:
    """1.4 from version 12: each additional creator is a user id."""
    content = attempt.event.content
    if "additional_creators" not in content:
        return False
    creators = content["additional_creators"]
    if not isinstance(creators, list) or not all(_is_user_id(creator) for creator in creators):
        reject(AuthRule.CREATE_ADDITIONAL_CREATORS, "additional_creators is not a list of user ids")
    return False


def room_id_names_create(attempt: Attempt) -> bool:
    """2, from version 12: the create event of the state is the one that the room id is made from."""
    if attempt.create.event_id[1:] != attempt.event.room_id[1:]:
        reject(
            AuthRule.ROOM_ID_NAMES_CREATE,
            f"{attempt.create.event_id!a:.64} does not make {attempt.event.room_id!a:.64}",
        )
    return False


def sender_may_federate(attempt: Attempt) -> bool:
    """4: in a room that does not federate only the creator's server sends."""
    create = attempt.create
    domain = domain_of(attempt.event.sender)
    if domain is None or (domain != domain_of(create.sender) and not _federates(attempt)):
        reject(AuthRule.FEDERATION, f"the room does not federate with {domain!a:.64}")
    return False


def target_may_federate(attempt: Attempt) -> bool:
    """In a room that does not federate only users of the creator's server get memberships (see DEVIATIONS.md)."""
    domain = domain_of(attempt.target)
    if domain != domain_of(attempt.create.sender) and not _federates(attempt):
        reject(AuthRule.FEDERATION_TARGET, f"the room does not federate with {domain!a:.64}")
    return False


def _federates(attempt: Attempt) -> bool:
    # Anything but `true` closes the room, not only `false` (see DEVIATIONS.md).
    return attempt.create.content.get("m.federate", True) is True


def _is_user_id(value: object) -> bool:
    # Historical localparts, also empty ones, are as valid as in `sender`; the server name must be one.
    if not isinstance(value, str) or not value.startswith("@"):
        return False
    domain = domain_of(value)
    if domain is None or len(value.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        return False
    try:
        server = parse_server_name(domain)
    except InvalidIdError:
        return False
    host = server.rpartition(":")[0] or server
    return server.startswith("[") or all(host.split("."))
