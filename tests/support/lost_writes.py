"""A store that forgets its last writes, as one does that is put back to an old copy, and takes others since."""

from collections.abc import Callable, Sequence

_COPY = "copy:{registry}:"


class LostWrites:
    """Remembers how the registry stands when it is made, until it is told to `lose` what came after."""

    def __init__(self, ask: Callable[..., bytes], key_prefix: str, rooms: Sequence[str]) -> None:
        """*ask* is for the server that has the registry."""
        self._ask = ask
        self._prefix = f"{key_prefix}:{{registry}}:"
        self._keys = ["meta", "log", "rooms", *(f"room:{room}" for room in rooms)]
        for key in self._keys:
            ask("DEL", _COPY + key)  # of another test; what is not there yet is not copied
            ask("COPY", self._prefix + key, _COPY + key)

    def lose(self) -> None:
        """Put the registry back, and let somebody else write to it."""
        prefix = self._prefix
        loss = [
            f"redis.call('DEL', '{prefix}{key}') redis.call('COPY', '{_COPY}{key}', '{prefix}{key}')"
            for key in self._keys
        ]
        other = (
            f"redis.call('HINCRBY', '{prefix}meta', 'revision', 1) redis.call('HSET', '{prefix}meta', 'chain', 'other') "
            f"redis.call('XADD', '{prefix}log', redis.call('HGET', '{prefix}meta', 'revision') .. '-0', 'chain', 'other', "
            "'prev', 'unknown', 'kind', 'other', 'room', '')"
        )
        loss += 3 * [other]  # more than were lost, so that only the chain tells that some were
        self._ask("EVAL", " ".join(loss), "1", prefix + "meta")
