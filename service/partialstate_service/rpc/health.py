"""The health protocol (grpc.health.v1): whether the process runs, and whether a service can answer."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2 as pb

from partialstate_service.rpc.grpc_types import Context, GenericHandler
from partialstate_service.rpc.health_watches import HealthWatches

SERVICE = pb.DESCRIPTOR.services_by_name["Health"].full_name
PROCESS = ""
"""The name under which the process is asked for: SERVING from its first answer to its last."""
READINESS = "ready"
"""The name under which every process tells what its services would, also one that has none: whether its store is within reach."""

_SERVING = pb.HealthCheckResponse.SERVING
_NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
_REQUEST_TIMEOUT_S = 10.0
"""How long a caller may take to say what it asks for."""


class Health:
    """Liveness and readiness, which must not be confused: a restart heals no store.

    The process (`PROCESS`) is live as long as it can say so. The services and `READINESS` are ready together, when calls can succeed.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset((READINESS, *services))
        self._ready = False
        self._draining = False
        self._changed = asyncio.Event()

    def set_ready(self, *, ready: bool) -> None:
        """Say whether calls can succeed; without effect once draining."""
        if ready != self._ready and not self._draining:
            self._ready = ready
            self._tell_watchers()

    def drain(self) -> None:
        """Say that no call should come any more, and end the streams of those who watch."""
        self._ready, self._draining = False, True
        self._tell_watchers()

    def handler(self, watches: HealthWatches) -> GenericHandler:
        """Return what answers the calls of one server, with no more streams at a time than *watches* lets in."""

        async def watch(requests: AsyncIterator[pb.HealthCheckRequest], context: Context) -> None:
            async with watches.place(context):
                await self._watch(await _request(requests, context), context)

        terms = (pb.HealthCheckRequest.FromString, pb.HealthCheckResponse.SerializeToString)
        # Handlers of streams, since grpc waits for the one request of others without end, and without counting.
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.stream_unary_rpc_method_handler(self._check, *terms),
                "Watch": grpc.stream_stream_rpc_method_handler(watch, *terms),
            },
        )

    async def _check(
        self, requests: AsyncIterator[pb.HealthCheckRequest], context: Context
    ) -> pb.HealthCheckResponse:
        """Tell a status."""
        request = await _request(requests, context)
        status = self._status(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return pb.HealthCheckResponse(status=status)

    async def _watch(self, request: pb.HealthCheckRequest, context: Context) -> None:
        """Tell a status, and each change of it."""
        told = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status is None:
                status = pb.HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                await context.write(pb.HealthCheckResponse(status=status))
                told = status
            if self._draining:
                return
            await changed.wait()

    def _status(self, service: str) -> int | None:
        if service == PROCESS:
            return int(_SERVING)
        if service not in self._services:
            return None
        return int(_SERVING if self._ready else _NOT_SERVING)

    def _tell_watchers(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def _request(requests: AsyncIterator[pb.HealthCheckRequest], context: Context) -> pb.HealthCheckRequest:
    """Return the one request of a call."""
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            return await anext(requests)
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the call has no request")
    except StopAsyncIteration:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no request")
    raise AssertionError("abort raises")
