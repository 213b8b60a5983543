"""What Prometheus is told: `/metrics` on a port of its own."""

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from partialstate_service.domain.checks import Reason, Verdict
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.rooms import ResyncStage, RoomStatus
from partialstate_service.store.protocol import Mirror

_LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LAG_PERIOD_S = 0.02


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._checks = Counter(
            "partialstate_checks",
            "Decisions by endpoint, verdict and reason.",
            ("endpoint", "verdict", "reason"),
            registry=self.registry,
        )
        self._loop_lag = Histogram(
            "partialstate_event_loop_lag_seconds",
            "How much later than it should the event loop gets to something, looked at every 20 ms.",
            buckets=_LAG_BUCKETS_S,
            registry=self.registry,
        )
        self._failed_calls = Counter(
            "partialstate_failed_calls",
            "Calls that ended without a result, by the reason that the caller was told.",
            ("reason",),
            registry=self.registry,
        )
        self._delayed_checks = Counter(
            "partialstate_delayed_checks",
            "Requests of StreamCheck that had to wait, since their client made more than it may.",
            registry=self.registry,
        )
        self._tasks = Gauge(
            "partialstate_event_loop_tasks", "How many tasks the event loop has.", registry=self.registry
        )
        # `labels` validates what it is given each time; a check has no time for that.
        self._counters: dict[tuple[Endpoint, Verdict, Reason], Counter] = {}

    def observe_checks(self, endpoint: Endpoint, verdict: Verdict, reason: Reason, count: int) -> None:
        """Count *count* decisions that are alike."""
        key = (endpoint, verdict, reason)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._checks.labels(*(each.name for each in key))
        counter.inc(count)

    def observe_failed_call(self, reason: str) -> None:
        """Count a call without a result."""
        self._failed_calls.labels(reason).inc()

    def observe_delayed_check(self) -> None:
        """Count a check that waits for its client's rate."""
        self._delayed_checks.inc()

    def observe_loop_lag(self, lag_s: float) -> None:
        """Count one look at the event loop."""
        self._loop_lag.observe(lag_s)

    def observe_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell how many tasks *loop* has whenever the metrics are read."""
        self._tasks.set_function(lambda: len(asyncio.all_tasks(loop)))

    def observe_rooms(self, mirror: Mirror) -> None:
        """Tell what *mirror* holds whenever the metrics are read."""
        self.registry.register(_Rooms(mirror))


class _Rooms(Collector):
    """Reads the mirror from the thread of the metrics' server."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        # One C call under the interpreter's lock: the event loop cannot change the mirror within it.
        rooms = list(self._mirror.rooms.values())
        by_status = Tally(room.status for room in rooms)
        by_stage = Tally(room.progress.stage for room in rooms)
        statuses = GaugeMetricFamily("partialstate_rooms", "Partial rooms by status.", labels=["status"])
        for status in RoomStatus:
            statuses.add_metric([status.name], by_status[status])
        yield statuses
        stages = GaugeMetricFamily(
            "partialstate_resync_stages", "Partial rooms by what their resync is doing.", labels=["stage"]
        )
        for stage in ResyncStage:
            stages.add_metric([stage.name], by_stage[stage])
        yield stages
        yield GaugeMetricFamily(
            "partialstate_pending_events",
            "Recorded partial events that still lack their full state.",
            value=sum(room.pending_events for room in rooms),
        )
        yield GaugeMetricFamily(
            "partialstate_oldest_room_registered_seconds",
            "When the partial room that has waited longest was registered (Unix time; 0 without any).",
            value=min((room.registered_at_ms for room in rooms), default=0) / 1000,
        )
        yield GaugeMetricFamily(
            "partialstate_mirror_revision",
            "The last change of the registry that this replica has seen.",
            value=self._mirror.token.revision,
        )
        yield GaugeMetricFamily(
            "partialstate_mirror_staleness_seconds",
            "How long ago this replica was last known to have seen every change.",
            value=self._mirror.staleness_s,
        )
        yield GaugeMetricFamily(
            "partialstate_store_not_understood",
            "1 where a newer release has written what this replica cannot read, so that it decides nothing.",
            value=not self._mirror.understands_store,
        )


@asynccontextmanager
async def watched_loop(metrics: Metrics) -> AsyncIterator[None]:
    """Tell *metrics* how late the event loop is, until the end of the block, and how many tasks it has."""
    loop = asyncio.get_running_loop()
    metrics.observe_tasks(loop)

    async def watch() -> None:
        while True:
            due_s = loop.time() + _LAG_PERIOD_S
            await asyncio.sleep(_LAG_PERIOD_S)
            metrics.observe_loop_lag(max(loop.time() - due_s, 0.0))

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch(), name="event loop lag")
        try:
            yield
        finally:
            watching.cancel()


@asynccontextmanager
async def served_metrics(metrics: Metrics, listen: str | None) -> AsyncIterator[None]:
    """Serve `/metrics` at *listen* (HOST:PORT) until the end of the block; with None, do not."""
    if listen is None:
        yield
        return
    host, _, port = listen.rpartition(":")
    server, thread = start_http_server(int(port), host.strip("[]"), metrics.registry)
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)
