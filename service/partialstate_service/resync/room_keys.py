"""The signing keys found for one room.

What a room's own servers say of others' keys counts in their room only, so the federation does not remember it; here it
is remembered for as long as a worker holds the room, and nothing is sought again for each batch of events.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.key_answers import suffices
from partialstate_service.federation.protocol import KeySource
from partialstate_service.matrix.keys import KeyId, ServerKeys


class RoomKeys:
    """A `KeySource` that remembers what *keys* found."""

    def __init__(self, keys: KeySource) -> None:
        self._keys = keys
        self._found: dict[ServerName, ServerKeys] = {}

    async def keys_for(
        self,
        wanted: Mapping[ServerName, int],
        *,
        also_ask: Sequence[ServerName] = (),
        key_ids: Mapping[ServerName, Collection[KeyId]] = MappingProxyType({}),
    ) -> Mapping[ServerName, ServerKeys]:
        """See `KeySource`."""
        missing = {
            server: until
            for server, until in wanted.items()
            if not suffices(self._found.get(server), until, key_ids.get(server, ()))
        }
        if missing:
            self._found |= await self._keys.keys_for(missing, also_ask=also_ask, key_ids=key_ids)
        return {server: self._found[server] for server in wanted if server in self._found}
