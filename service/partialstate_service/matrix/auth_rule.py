"""The authorisation rules by name, and the rejection that says which one an event failed."""

from enum import Enum

_SPECIFICATION = "https://spec.matrix.org/v1.19/rooms/v{version}/#authorization-rules"


class AuthRule(Enum):
    """One rule that can reject an event.

    The value is the newest room version with the rule, the rule's number there and what the rule demands. Rules
    with the number "-" are not in the specification's text but observed in every Synapse: see DEVIATIONS.md.
    """

    CREATE_PREV_EVENTS = ("12", "1.1", "a create event has no previous events")
    CREATE_ROOM_ID_DOMAIN = ("11", "1.2", "the room id of a create event has the sender's domain")
    CREATE_ROOM_ID_ABSENT = ("12", "1.2", "a create event has no room_id")
    CREATE_ROOM_VERSION = ("12", "1.3", "the room version is a recognised one")
    CREATE_CREATOR = ("10", "1.4", "a create event names the creator")
    CREATE_ADDITIONAL_CREATORS = ("12", "1.4", "additional_creators is a list of user ids")
    ROOM_ID_NAMES_CREATE = ("12", "2", "the room id names an accepted create event")
    AUTH_EVENTS_DUPLICATE = ("12", "3.1", "auth events have distinct types and state keys")
    AUTH_EVENTS_SELECTION = ("12", "3.2", "auth events are of the types and state keys that the event needs")
    AUTH_EVENTS_REJECTED = ("12", "3.3", "no auth event was rejected")
    MISSING_CREATE = ("11", "2.4", "the create event is among the auth events")
    AUTH_EVENTS_ROOM = ("12", "3.5", "auth events are of the event's room")
    FEDERATION = ("12", "4", "a room that does not federate has senders of the creator's server only")
    FEDERATION_TARGET = ("12", "-", "a room that does not federate has members of the creator's server only")
    ALIASES_STATE_KEY = ("5", "4.1", "an aliases event has a state key")
    ALIASES_DOMAIN = ("5", "4.2", "an aliases event's state key is the sender's domain")
    MEMBER_FORMAT = ("12", "5.1", "a membership event has a state key and a membership")
    MEMBER_USER_ID = ("12", "-", "a membership event's state key is a user id")
    JOIN_SENDER = ("12", "5.3.2", "users join for themselves")
    JOIN_BANNED = ("12", "5.3.3", "a banned user does not join")
    JOIN_INVITED = ("12", "5.3.4", "who joins a closed room is invited or joined")
    JOIN_AUTHORISED = ("12", "5.3.5.2", "a restricted join is authorised by a member who may invite")
    JOIN_RULE = ("12", "5.3.7", "the join rule is one that lets users join")
    THIRD_PARTY_BANNED = ("12", "5.4.1.1", "a third-party invite is not for a banned user")
    THIRD_PARTY_SIGNED = ("12", "5.4.1.2", "a third-party invite has a signed object")
    THIRD_PARTY_FIELDS = ("12", "5.4.1.3", "the signed object has mxid, token and signatures")
    THIRD_PARTY_MXID = ("12", "5.4.1.4", "the signed mxid is the invited user")
    THIRD_PARTY_TOKEN = ("12", "5.4.1.5", "the room has the third-party invite of the token")
    THIRD_PARTY_SENDER = ("12", "5.4.1.6", "who invites is the sender of the third-party invite")
    THIRD_PARTY_SIGNATURE = (
        "12",
        "5.4.1.8",
        "a public key of the third-party invite verifies the signed object",
    )
    INVITE_SENDER = ("12", "5.4.2", "who invites is joined")
    INVITE_TARGET = ("12", "5.4.3", "who is invited is neither joined nor banned")
    INVITE_LEVEL = ("12", "5.4.5", "who invites has the invite level")
    LEAVE_OWN = ("12", "5.5.1", "who leaves is joined, invited or knocking")
    KICK_SENDER = ("12", "5.5.2", "who kicks or unbans is joined")
    UNBAN_LEVEL = ("12", "5.5.3", "who unbans has the ban level")
    KICK_LEVEL = ("12", "5.5.5", "who kicks has the kick level and more power than the target")
    BAN_SENDER = ("12", "5.6.1", "who bans is joined")
    BAN_LEVEL = ("12", "5.6.3", "who bans has the ban level and more power than the target")
    KNOCK_JOIN_RULE = ("12", "5.7.1", "the join rule lets users knock")
    KNOCK_SENDER = ("12", "5.7.2", "users knock for themselves")
    KNOCK_MEMBERSHIP = ("12", "5.7.4", "who knocks is neither banned, invited nor joined")
    MEMBERSHIP_UNKNOWN = ("12", "5.8", "the membership is one of the room version")
    SENDER_JOINED = ("12", "6", "the sender is joined")
    THIRD_PARTY_INVITE_LEVEL = ("12", "7.1", "who sends a third-party invite has the invite level")
    REQUIRED_LEVEL = ("12", "8", "the sender has the level that the event's type requires")
    STATE_KEY_OWNER = ("12", "9", "a state key that is a user id is the sender")
    POWER_LEVELS_STATE_KEY = ("12", "-", "a power levels event has a state key")
    POWER_LEVELS_INTEGERS = ("12", "10.1", "the single power levels are integers")
    POWER_LEVELS_MAPS = ("12", "10.2", "events, notifications and users are objects of integers")
    POWER_LEVELS_USERS = ("12", "10.3", "users is an object of user ids and levels")
    POWER_LEVELS_CREATORS = ("12", "10.4", "users does not name a creator of the room")
    POWER_LEVELS_DEFAULTS_CHANGED = (
        "12",
        "10.6",
        "a changed level is not above the sender's, before and after",
    )
    POWER_LEVELS_EVENTS_CHANGED = ("12", "10.7", "a changed events level is not above the sender's")
    POWER_LEVELS_NOTIFICATIONS_CHANGED = (
        "12",
        "10.7",
        "a changed notifications level is not above the sender's",
    )
    POWER_LEVELS_PEERS = ("12", "10.9", "only less powerful users' levels are changed")
    POWER_LEVELS_USERS_RAISED = ("12", "10.10", "nobody is raised above the sender's level")
    POWER_LEVEL_READABLE = ("9", "-", "a power level that a rule needs can be read as an integer")
    REDACTION = ("2", "11.3", "who redacts has the redact level or redacts an event of the same server")

    def __init__(self, room_version: str, number: str, demand: str) -> None:
        self.room_version = room_version
        self.number = number
        self.demand = demand

    @property
    def reference(self) -> str:
        """Where the rule is written down."""
        return f"{_SPECIFICATION.format(version=self.room_version)}, {self.number}"


_MAX_TEXT_CHARS = 300


class AuthRejectionError(Exception):
    """An event is not authorised: the rule that rejects it, and the facts of the case in words, short and in ASCII."""

    def __init__(self, rule: AuthRule, text: str) -> None:
        self.rule = rule
        # A level can have thousands of digits.
        self.text = text[:_MAX_TEXT_CHARS]
        super().__init__(f"{rule.name}: {self.text}")
