"""The health protocol (grpc.health.v1): whether the process runs, and whether a service can answer."""
# ruff: noqa: N802 - the names are those of the RPCs

import asyncio
from collections.abc import Iterable

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc as pb_grpc

from partialstate_service.rpc.grpc_types import Context

SERVICE = pb.DESCRIPTOR.services_by_name["Health"].full_name
PROCESS = ""
"""The name under which the process is asked for: SERVING from its first answer to its last."""
READINESS = "ready"
"""The name under which every process tells what its services would, also one that has none: whether its store is within reach."""

_SERVING = pb.HealthCheckResponse.SERVING
_NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING


class Health(pb_grpc.HealthServicer):  # type: ignore[misc]  # has no stubs
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

    async def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        """Tell a status."""
        status = self._status(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return pb.HealthCheckResponse(status=status)

    async def Watch(self, request: pb.HealthCheckRequest, context: Context) -> None:
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
