"""A service that fails on demand: every RPC of the API answers as a test scripts it, over real gRPC.

with running_fake() as fake:
    fake.on("Check", failing(StatusCode.UNAVAILABLE), answering(pb.CheckResponse(...)))
    ...
    fake.calls("Check")   # what arrived
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
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

SERVICES = {
    service.name: service
    for module in (rooms_service_pb2, check_service_pb2, recovered_state_service_pb2, watch_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
}
_ADD: dict[str, Callable[..., None]] = {
    "RoomsService": rooms_service_pb2_grpc.add_RoomsServiceServicer_to_server,
    "CheckService": check_service_pb2_grpc.add_CheckServiceServicer_to_server,
    "RecoveredStateService": recovered_state_service_pb2_grpc.add_RecoveredStateServiceServicer_to_server,
    "WatchService": watch_service_pb2_grpc.add_WatchServiceServicer_to_server,
}
# Longer than any test lets a call wait, short enough that a forgotten one does not keep the tests.
STALL_S = 20.0

Behaviour = Callable[["Call", grpc.ServicerContext], Any]


@dataclass
class Call:
    """One call as it arrived; `requests` has the one message, or those of the stream that were read."""

    requests: list[Any]
    stream: Iterator[Any]
    metadata: dict[str, str | bytes]
    ended: threading.Event

    @property
    def request(self) -> Any:
        """The only, or the first message."""
        return self.requests[0]

    def read_all(self) -> list[Any]:
        """Read the stream of requests to its end."""
        self.requests.extend(self.stream)
        return self.requests


@dataclass
class FakeService:
    """The scripts of the RPCs, and what arrived."""

    target: str = ""
    _scripts: dict[str, list[Behaviour]] = field(default_factory=dict)
    _calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))

    def on(self, rpc: str, *behaviours: Behaviour) -> None:
        """Let the calls of *rpc* be answered by the behaviours in turn; the last one also answers all further."""
        self._scripts[rpc] = list(behaviours)

    def calls(self, rpc: str) -> list[Call]:
        """Return the calls of *rpc* that arrived."""
        return self._calls[rpc]

    def answer(self, rpc: str, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer a call by its script."""
        streams = not hasattr(request, "DESCRIPTOR")
        ended = threading.Event()
        context.add_callback(ended.set)
        call = Call(
            requests=[] if streams else [request],
            stream=request if streams else iter(()),
            metadata=dict(context.invocation_metadata()),
            ended=ended,
        )
        self._calls[rpc].append(call)
        script = self._scripts.get(rpc)
        if not script:
            return failing(grpc.StatusCode.UNIMPLEMENTED)(call, context)
        behaviour = script.pop(0) if len(script) > 1 else script[0]
        return behaviour(call, context)


def answering(message: Any) -> Behaviour:
    """Answer with a message, after all requests were read."""

    def behave(call: Call, context: grpc.ServicerContext) -> Any:
        call.read_all()
        return message

    return behave


def streaming(*messages: Any, then: Behaviour | None = None) -> Behaviour:
    """Answer with messages, and then by another behaviour, which may fail or stall."""

    def behave(call: Call, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from messages
        if then is not None:
            then(call, context)

    return behave


def per_request(answer: Callable[[Any], Any]) -> Behaviour:
    """Answer each request of a stream."""

    def behave(call: Call, context: grpc.ServicerContext) -> Iterator[Any]:
        for request in call.stream:
            call.requests.append(request)
            yield answer(request)

    return behave


def failing(
    code: grpc.StatusCode,
    reason: str = "",
    message: str = "so it is scripted",
    *,
    first: int = 0,
    retry_after_s: float = 0.0,
    **facts: str,
) -> Behaviour:
    """Fail with a status, after *first* requests of a stream were read; *retry_after_s* goes into its details."""

    def behave(call: Call, context: grpc.ServicerContext) -> Any:
        for _ in range(first):
            call.requests.append(next(call.stream))
        status = status_pb2.Status(code=code.value[0], message=message)
        if reason:
            info = error_details_pb2.ErrorInfo(reason=reason, domain="partialstate.v1", metadata=facts)
            detail = any_pb2.Any()
            detail.Pack(info)
            status.details.append(detail)
        if retry_after_s:
            again = error_details_pb2.RetryInfo()
            again.retry_delay.FromNanoseconds(int(retry_after_s * 1e9))
            status.details.add().Pack(again)
        context.abort_with_status(rpc_status.to_status(status))

    return behave


def stalling() -> Behaviour:
    """Answer nothing until the caller gives up."""

    def behave(call: Call, context: grpc.ServicerContext) -> Any:
        call.ended.wait(STALL_S)
        context.abort(grpc.StatusCode.ABORTED, "stalled")

    return behave


UNAVAILABLE = failing(grpc.StatusCode.UNAVAILABLE)


@contextmanager
def running_fake(credentials: grpc.ServerCredentials | None = None) -> Iterator[FakeService]:
    """Serve a fake on loopback."""
    fake = FakeService()
    with ThreadPoolExecutor(max_workers=8) as pool:
        server = grpc.server(pool)
        for name, service in SERVICES.items():
            _ADD[name](_servicer(fake, service), server)
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        fake.target = f"127.0.0.1:{port}"
        server.start()
        try:
            yield fake
        finally:
            server.stop(grace=None).wait(STALL_S)


def _servicer(fake: FakeService, service: Any) -> Any:
    def handler(rpc: str, *, streams: bool) -> Callable[[Any, Any, Any], Any]:
        def answer(self: Any, request: Any, context: Any) -> Any:
            return fake.answer(rpc, request, context)

        def answers(self: Any, request: Any, context: Any) -> Iterator[Any]:
            yield from fake.answer(rpc, request, context)

        return answers if streams else answer

    methods = {
        method.name: handler(method.name, streams=method.server_streaming) for method in service.methods
    }
    return type(f"Fake{service.name}", (), methods)()
