"""What the simulated servers were asked."""

from collections import Counter, deque
from typing import NamedTuple

from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import ServerName

MAX_REQUESTS = 100_000


class ReceivedRequest(NamedTuple):
    """One request as it arrived: before it is authenticated."""

    server: ServerName
    endpoint: Endpoint
    uri: str


class RequestLog:
    """Counts all requests and keeps the latest `MAX_REQUESTS`, in their order."""

    def __init__(self) -> None:
        self.requests: deque[ReceivedRequest] = deque(maxlen=MAX_REQUESTS)
        self._counts: Counter[tuple[ServerName, Endpoint]] = Counter()

    def add(self, request: ReceivedRequest) -> None:
        """Note one request."""
        self.requests.append(request)
        self._counts[request.server, request.endpoint] += 1

    def count(self, endpoint: Endpoint, server: ServerName | None = None) -> int:
        """Return how often *endpoint* was asked, of one server or of all."""
        return sum(
            count
            for (asked, what), count in self._counts.items()
            if what is endpoint and server in {None, asked}
        )

    def servers_asked(self, endpoint: Endpoint) -> set[ServerName]:
        """Return the servers that were asked for *endpoint*."""
        return {asked for asked, what in self._counts if what is endpoint}

    def by_endpoint(self) -> dict[str, int]:
        """Return how often each endpoint was asked, by its name."""
        counts: Counter[str] = Counter()
        for (_, what), count in self._counts.items():
            counts[what.name] += count
        return dict(counts)
