"""Who may call what."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum


class ClientRole(StrEnum):
    """What a client is there for. One client may have several roles."""

    FRONTEND = "frontend"
    """Answers federation requests: checks, and looks at the partial rooms."""
    JOINER = "joiner"
    """Joins, sends, receives and imports for the homeserver."""
    OPERATOR = "operator"
    """Looks after the rooms: retries and releases them."""


ALL_ROLES = frozenset(ClientRole)
_F, _J, _O = ClientRole

# Every RPC, and the roles of which a client needs one.
_ROLES_BY_RPC: Mapping[str, AbstractSet[ClientRole]] = {
    "CheckService/Check": {_F, _J},
    "CheckService/BatchCheck": {_F, _J},
    "CheckService/StreamCheck": {_F, _J},
    "RoomsService/RegisterPartialJoin": {_J},
    "RoomsService/ConfirmJoin": {_J},
    "RoomsService/RecordPartialEvents": {_J},
    "RoomsService/AuthoriseIncomingEvent": {_J},
    "RoomsService/RecordSentEvents": {_J},
    "RoomsService/GetPartialRoom": {_F, _J, _O},
    "RoomsService/ListPartialRooms": {_F, _J, _O},
    "RoomsService/GetDestinations": {_F, _J},
    "RoomsService/ReconcileRooms": {_J},
    "RoomsService/RetryResync": {_O},
    "RoomsService/ReleaseRoom": {_J, _O},
    "RecoveredStateService/StreamRecoveredState": {_J},
    "RecoveredStateService/AckImport": {_J},
    "RecoveredStateService/ConfirmImport": {_J},
    "WatchService/Watch": {_F, _J, _O},
}
ROLES_BY_METHOD: Mapping[str, AbstractSet[ClientRole]] = {
    f"/partialstate.v1.{rpc}": roles for rpc, roles in _ROLES_BY_RPC.items()
}
"""By the full name of a method, as it is on the wire. What is not here (reflection) is for every client."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client that was recognised."""

    name: str
    """What it is called in errors, and counted by."""
    roles: AbstractSet[ClientRole] = ALL_ROLES

    def may_call(self, method: str) -> bool:
        """Return whether one of the roles that *method* needs is the client's."""
        needed = ROLES_BY_METHOD.get(method)
        return needed is None or not needed.isdisjoint(self.roles)
