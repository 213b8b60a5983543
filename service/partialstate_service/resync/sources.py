"""Which server to ask next. Pure but for the clock and the dice that it is given."""

from collections.abc import Callable, Collection, Iterable
from heapq import nsmallest

from partialstate_service.domain.ids import ServerName
from partialstate_service.domain.rooms import PartialRoom, ServerRecord
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.resync.cooldown import CooldownPolicy, Jitter, cooldown_s

MAX_RECORDS = 100
"""How many servers' outcomes are kept with a room."""
MAX_SERVERS = 10_000
"""How many candidates are kept: whoever answers a join may invent any number."""
_MAX_DETAIL_CHARS = 200


class Sources:
    """The candidate servers of one room with what each answered last.

    `joined_via` comes first while it is well, then servers that answered, then servers never asked (in a random
    order), then those that failed, fewest failures first. Servers in cooldown are passed over.
    """

    def __init__(
        self,
        *,
        own_name: ServerName,
        joined_via: ServerName | None,
        servers: Iterable[ServerName],
        records: Iterable[ServerRecord],
        registered_at_ms: int,
        policy: CooldownPolicy,
        now_ms: Callable[[], int],
        jitter: Jitter,
    ) -> None:
        self._own_name = own_name
        self.joined_via = joined_via
        self._registered_at_ms = registered_at_ms
        self._policy = policy
        self._now_ms = now_ms
        self._jitter = jitter
        self._records = {record.server: record for record in records}
        # A random but fixed place for each server, so that many homeservers do not all ask the same one.
        self._dice: dict[ServerName, float] = {}
        if joined_via is not None:
            self.add([joined_via])
        # The last ones are those that an operator has added.
        self.add([*servers][1 - MAX_SERVERS :])

    def __len__(self) -> int:
        """Return how many candidates there are, those that cool down among them."""
        return len(self._dice)

    def add(self, servers: Iterable[ServerName]) -> None:
        """Add candidates, `MAX_SERVERS` at most in all; our own name is never one (synapse#15123)."""
        for server in servers:
            if len(self._dice) >= MAX_SERVERS:
                return
            if server != self._own_name and server not in self._dice:
                self._dice[server] = self._jitter()

    def available(
        self, *, without: Collection[ServerName] = (), at_most: int = MAX_SERVERS
    ) -> list[ServerName]:
        """Return *at_most* of the servers that may be asked now, the best first."""
        now = self._now_ms()
        allowed = [
            server for server in self._dice if server not in without and self._cooled_until(server) <= now
        ]
        return nsmallest(at_most, allowed, key=self._rank)

    def next_available_ms(self) -> int | None:
        """Return when the first server may be asked again (now, if one may be); None without any candidate."""
        return min((max(self._cooled_until(s), self._now_ms()) for s in self._dice), default=None)

    def succeeded(self, server: ServerName) -> None:
        """Note a good answer."""
        self._keep(ServerRecord(server=server, outcome=Outcome.OK.value, at_ms=self._now_ms()))

    def failed(self, error: FederationError) -> None:
        """Note a failure and leave the server alone for as long as its kind calls for."""
        now = self._now_ms()
        before = self._records.get(error.server)
        failures = before.failures + 1 if before is not None else 1
        wait_s = cooldown_s(
            error.outcome,
            failures=failures,
            since_join_s=(now - self._registered_at_ms) / 1000,
            retry_after_s=error.retry_after_s,
            policy=self._policy,
            jitter=self._jitter,
        )
        self._keep(
            ServerRecord(
                server=error.server,
                outcome=error.outcome.value,
                at_ms=now,
                detail=error.text[:_MAX_DETAIL_CHARS],
                failures=failures,
                cooldown_until_ms=now + int(wait_s * 1000),
            )
        )

    def records(self) -> tuple[ServerRecord, ...]:
        """Return what each asked server answered last, the latest first, at most `MAX_RECORDS`."""
        latest = sorted(self._records.values(), key=lambda record: -record.at_ms)
        return tuple(latest[:MAX_RECORDS])

    def _keep(self, record: ServerRecord) -> None:
        self._records[record.server] = record

    def _cooled_until(self, server: ServerName) -> int:
        record = self._records.get(server)
        return record.cooldown_until_ms or 0 if record is not None else 0

    def _rank(self, server: ServerName) -> tuple[int, int, float]:
        record = self._records.get(server)
        failures = record.failures if record is not None else 0
        if failures:
            # After one time-out the same server is asked again, before it is given up for another.
            warm = record is not None and record.outcome == Outcome.TIMEOUT and failures == 1
            return (0 if warm else 4, failures, self._dice[server])
        if server == self.joined_via:
            return (1, 0, 0.0)
        return (2 if record is not None else 3, 0, self._dice[server])


def sources_of(
    room: PartialRoom,
    *,
    own_name: ServerName,
    policy: CooldownPolicy,
    now_ms: Callable[[], int],
    jitter: Jitter,
) -> Sources:
    """Return the candidates of *room*, with what they answered in earlier attempts."""
    return Sources(
        own_name=own_name,
        joined_via=room.joined_via,
        servers=room.servers,
        records=room.progress.servers,
        registered_at_ms=room.registered_at_ms,
        policy=policy,
        now_ms=now_ms,
        jitter=jitter,
    )
