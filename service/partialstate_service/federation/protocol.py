"""What the resync needs of the federation: the calls, the keys and their limits."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeAlias

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.state_stream import Element
from partialstate_service.matrix.ed25519 import KeyId
from partialstate_service.matrix.keys import ServerKeys

__all__ = [
    "FederationError",
    "FederationLimits",
    "KeySource",
    "Outcome",
    "OwnId",
    "ResidentServers",
    "StateElement",
    "StateIds",
    "same_id",
]


@dataclass(frozen=True, slots=True)
class StateIds:
    """The answer of `/state_ids`: ids that are well-formed, maybe some of them repeated; nothing else is verified.

    The state is the one *before* the event asked for.
    """

    pdu_ids: tuple[EventId, ...]
    auth_chain_ids: tuple[EventId, ...]


OwnId: TypeAlias = Callable[[EventId], EventId]
"""Returns the asker's own copy of an id, if it has one: of hundreds of thousands there need not be two in memory."""


def same_id(event_id: EventId) -> EventId:
    """Return the id itself: the asker has none."""
    return event_id


StateElement: TypeAlias = Element
"""One event of a `/state` answer, of the list `pdus` or `auth_chain`."""


@dataclass(frozen=True, slots=True)
class FederationLimits:
    """What one request may cost. Time that the caller takes between two elements is never counted."""

    discovery_timeout_s: float = 20.0
    """Well-known and SRV, where they are not remembered."""
    connect_timeout_s: float = 10.0
    """TCP and TLS: all addresses of a destination in short turns, then each by itself."""
    response_timeout_s: float = 60.0
    """A whole request other than `/state`, from the first lookup to the last byte."""
    state_response_timeout_s: float = 600.0
    """`/state`: until the answer's headers; servers compute for minutes before they send the first byte."""
    state_total_timeout_s: float = 3600.0
    """`/state`: all the time spent waiting for the server."""
    progress_window_s: float = 30.0
    min_progress_bytes: int = 16 * 1024
    """What has to arrive in each `progress_window_s` spent waiting, or the answer counts as a timeout."""
    max_state_body_bytes: int = 500_000_000
    max_ids_body_bytes: int = 100_000_000
    """`/state_ids`: about two million ids."""
    max_auth_body_bytes: int = 100_000_000
    """`/event_auth`."""
    max_element_bytes: int = 1024 * 1024
    """One event in an answer. The specification's 65,536 bytes are canonical JSON; escapes make them longer."""
    max_elements: int = 2_000_000
    max_error_body_bytes: int = 16 * 1024
    connections_per_destination: int = 8


class ResidentServers(Protocol):
    """Remote servers in the room, asked by us.

    Every call raises `FederationError` and nothing else, has its own time limit, and checks only the form of the
    answer: ids, signatures and hashes are the caller's. The server may be any but ourselves.
    """

    async def state_ids(
        self, server: ServerName, room: RoomId, event_id: EventId, own_id: OwnId = same_id
    ) -> StateIds:
        """Return the ids of the state before *event_id* and of its auth chain, each as *own_id* has it."""
        ...

    def state(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> AsyncGenerator[Sequence[StateElement], None]:
        """Stream the events of the state before *event_id* (`pdus`) and of its auth chain (`auth_chain`) as they arrive.

        `FederationError` may come at any time, also after elements; an end without an error means that the answer
        was complete and well-formed. Close it (`contextlib.aclosing`) to give the connection back at once.
        """
        ...

    async def event(self, server: ServerName, event_id: EventId) -> bytes:
        """Return one event's JSON object, byte for byte as the server wrote it."""
        ...

    async def event_auth(self, server: ServerName, room: RoomId, event_id: EventId) -> list[bytes]:
        """Return the auth chain of *event_id*, each event's JSON object as the server wrote it."""
        ...


class KeySource(Protocol):
    """The published signing keys of servers."""

    async def keys_for(
        self,
        wanted: Mapping[ServerName, int],
        *,
        also_ask: Sequence[ServerName] = (),
        key_ids: Mapping[ServerName, Collection[KeyId]] = MappingProxyType({}),
    ) -> Mapping[ServerName, ServerKeys]:
        """Return the keys that could be had; a server without any is absent, and no error is raised for it.

        *wanted* maps each server to the time (milliseconds since 1970) until which its keys should be valid, as a
        rule the latest `origin_server_ts` to verify; older keys are returned where no newer ones are to be had.
        *also_ask* are servers of the room, asked as notaries for what is still missing at the end; what they say
        counts only where several agree, and is not remembered. *key_ids* are the keys that the signatures name, as
        far as the caller knows: a notary fetches only keys that it is asked for by id.
        """
        ...
