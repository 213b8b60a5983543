"""Which servers events of a partial room must be sent to.

While a room is partial it is not known who is in it; MSC3895 leaves the obligations for sending open. Sent to are the
servers that the resident server named at the join (`servers_in_room`, MSC3706) and those seen joining since. A server
that left meanwhile gets a few events too many, as it would from any server that has not seen the leave yet; who was
missed is found by the resync and told with the recovered state.
"""

from collections.abc import Iterable

from partialstate_service.domain.ids import ServerName


def destinations(servers: Iterable[ServerName], *, us: ServerName) -> tuple[ServerName, ...]:
    """Return *servers*, those of the join and those seen joining since, sorted, each once, without *us*."""
    return tuple(sorted({*servers} - {us}))
