"""The services of the API, which come to a running server once there is a store, and reflection, which tells of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from partialstate.v1 import (
    check_service_pb2,
    check_service_pb2_grpc,
    recovered_state_service_pb2,
    recovered_state_service_pb2_grpc,
    rooms_service_pb2,
    rooms_service_pb2_grpc,
    watch_service_pb2,
    watch_service_pb2_grpc,
)

from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.rpc import health
from partialstate_service.rpc.grpc_types import Context, GenericHandler, Handler

_DESCRIPTORS = tuple(
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (rooms_service_pb2, "RoomsService"),
        (check_service_pb2, "CheckService"),
        (recovered_state_service_pb2, "RecoveredStateService"),
        (watch_service_pb2, "WatchService"),
    )
)
SERVICES = tuple(service.full_name for service in _DESCRIPTORS)
_METHODS = frozenset(
    f"/{service.full_name}/{method.name}" for service in _DESCRIPTORS for method in service.methods
)


@dataclass(frozen=True, slots=True)
class Servicers:
    """What the server serves."""

    rooms: rooms_service_pb2_grpc.RoomsServiceServicer
    check: check_service_pb2_grpc.CheckServiceServicer
    recovered_state: recovered_state_service_pb2_grpc.RecoveredStateServiceServicer
    watch: watch_service_pb2_grpc.WatchServiceServicer


class _Handlers(GenericHandler):
    """Handlers, which the generated functions add as if this were a server."""

    def __init__(self) -> None:
        self._handlers: list[GenericHandler] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[GenericHandler]) -> None:
        """See `grpc.Server`."""
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """See `grpc.Server`; the same handlers again."""

    def service(self, details: grpc.HandlerCallDetails) -> Handler | None:
        """Return the handler of a call, None for a method that none of them has."""
        return next((found for each in self._handlers if (found := each.service(details)) is not None), None)


class LateServices(GenericHandler):
    """The handlers of `SERVICES`, and of reflection: calls of the first fail for want of a store until there are servicers.

    grpc takes no handlers once its server runs, and asks this one at each call.
    """

    def __init__(self) -> None:
        self._reflection = _Handlers()
        names = (*SERVICES, health.SERVICE, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(names),  # type: ignore[attr-defined]  # public by its `__all__`
            self._reflection,
        )
        self._services: _Handlers | None = None

    def add(self, servicers: Servicers) -> None:
        """Serve with *servicers* from now on."""
        self._services = _Handlers()
        there: Any = self._services
        rooms_service_pb2_grpc.add_RoomsServiceServicer_to_server(servicers.rooms, there)
        check_service_pb2_grpc.add_CheckServiceServicer_to_server(servicers.check, there)
        recovered_state_service_pb2_grpc.add_RecoveredStateServiceServicer_to_server(
            servicers.recovered_state, there
        )
        watch_service_pb2_grpc.add_WatchServiceServicer_to_server(servicers.watch, there)

    def service(self, details: grpc.HandlerCallDetails) -> Handler | None:
        """Return the handler of a call, None for a method that is not of these services."""
        if details.method in _METHODS:
            return _WITHOUT_STORE if self._services is None else self._services.service(details)
        return self._reflection.service(details)


async def _refuse(requests: object, context: Context) -> None:
    del requests, context
    raise StoreUnavailableError("there has been no store since the start")


# Of streams, since a call is refused before anything of it is read.
_WITHOUT_STORE = grpc.stream_stream_rpc_method_handler(_refuse)
