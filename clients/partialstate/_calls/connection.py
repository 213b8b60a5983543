"""One channel to the service: every call goes through here, for its token, deadline, repetitions and errors."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import grpc

from partialstate._calls.statuses import error_of
from partialstate._calls.true_status import TrueStatus
from partialstate.errors import (
    NotReconciledError,
    PartialStateError,
    ReaderTooSlowError,
    UnavailableError,
)
from partialstate.options import Deadlines, RetryPolicy, Tls

if TYPE_CHECKING:  # generic in their stubs but not at run time
    UnaryCall: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[Any, Any]
    UploadCall: TypeAlias = grpc.aio.StreamUnaryMultiCallable[Any, Any]
    Answers: TypeAlias = grpc.aio.UnaryStreamCall[Any, Any]

_Stub = TypeVar("_Stub")

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    # A page of rooms with thousands of servers each, or a large event, is more than gRPC's 4 MB.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A service that restarts is back in a second or two, not in gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Repetitions are ours: gRPC's own know nothing of our policy.
    ("grpc.enable_retries", 0),
    # A half-open connection under a silent Watch is found within a minute; the service allows such pings.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class Connection:
    """A channel that is open between `async with` and its end."""

    def __init__(
        self,
        target: str,
        *,
        tls: Tls | None = None,
        token: str | None = None,
        deadlines: Deadlines | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        """Describe a connection to *target* ("host:port", or any gRPC target); nothing is opened yet.

        Without *tls* the connection is in the clear, which a service accepts on loopback alone unless told otherwise.
        *token* is the pre-shared token of the service, if it has one.
        """
        self.target = target
        self.deadlines = deadlines or Deadlines()
        self.retry_policy = retry_policy or RetryPolicy()
        self._tls = tls
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._opened: grpc.aio.Channel | None = None
        self._stubs: dict[Callable[[grpc.aio.Channel], Any], Any] = {}

    async def __aenter__(self) -> Self:
        if self._opened is not None:
            raise RuntimeError("this client is open already")
        self._opened = self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        channel, self._opened = self._opened, None
        self._stubs.clear()
        if channel is not None:
            await channel.close(None)

    def _open(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self.target, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(
            self._tls.ca_certificates, self._tls.private_key, self._tls.certificate_chain
        )
        options = list(_OPTIONS)
        if self._tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self._tls.server_name))
        return grpc.aio.secure_channel(self.target, credentials, options=options)

    @property
    def _channel(self) -> grpc.aio.Channel:
        if self._opened is None:
            raise RuntimeError("the client is not open: use it in `async with`")
        return self._opened

    def _stub(self, make: Callable[[grpc.aio.Channel], _Stub]) -> _Stub:
        """Return the stub of a service, made once: making one costs more than a check."""
        if (stub := self._stubs.get(make)) is None:
            stub = self._stubs[make] = make(self._channel)
        made: _Stub = stub
        return made

    async def _unary(self, method: "UnaryCall", request: Any, deadline_s: float) -> Any:
        """Call *method*, again and again while the service is unavailable and the deadline allows."""

        async def attempt(remaining_s: float) -> Any:
            return await method(request, timeout=remaining_s, metadata=self._metadata)

        return await self._repeated(attempt, deadline_s)

    async def _upload(
        self,
        method: "UploadCall",
        messages: Callable[[], AsyncIterator[Any]],
        deadline_s: float,
        *,
        repeatable: bool,
    ) -> Any:
        """Send the messages and return the answer. *messages* begins anew at each call, if *repeatable*."""

        async def attempt(remaining_s: float) -> Any:
            call = method(None, timeout=remaining_s, metadata=self._metadata)
            status = TrueStatus(call)
            try:
                async for message in messages():
                    if not await _is_sent(call.write(message)):
                        break
                else:
                    await _is_sent(call.done_writing())
            except BaseException:
                call.cancel()
                raise
            try:
                return await call
            except grpc.aio.AioRpcError as failure:
                raise status.of(failure) from None

        return await self._repeated(attempt, deadline_s, repeatable=repeatable)

    async def _repeated(
        self, attempt: Callable[[float], Any], deadline_s: float, *, repeatable: bool = True
    ) -> Any:
        clock = asyncio.get_running_loop().time
        deadline = clock() + deadline_s
        failures = 0
        while True:
            try:
                return await attempt(max(deadline - clock(), 0.0))
            except grpc.aio.AioRpcError as failure:
                error = error_of(failure)
            failures += 1
            delay_s = max(self.retry_policy.delay_s(failures), error.retry_after_s)
            if not repeatable or not _is_passing(error) or clock() + delay_s >= deadline:
                raise error
            await asyncio.sleep(delay_s)

    async def _answers(self, start: Callable[[], "Answers"]) -> AsyncGenerator[Any, None]:
        """Yield the answers of a stream, and of the next one that *start* begins where it was cut off.

        The caller sees to it that *start* goes on after the last answer it got.
        """
        clock = asyncio.get_running_loop().time
        policy = self.retry_policy
        failures, failing_since = 0, clock()
        while True:
            call, started = start(), clock()
            try:
                async for answer in call:
                    failures = 0
                    yield answer
            except grpc.aio.AioRpcError as failure:
                error = error_of(failure)
            else:
                return
            finally:
                call.cancel()
            if failures == 0 or clock() - started > policy.resume_for_s:  # it was well, be it silent
                failures, failing_since = 0, clock()
            failures += 1
            delay_s = max(policy.delay_s(failures), error.retry_after_s)
            resumes = _is_passing(error) or isinstance(error, ReaderTooSlowError)
            if not resumes or clock() + delay_s > failing_since + policy.resume_for_s:
                raise error
            await asyncio.sleep(delay_s)


async def _is_sent(sending: Awaitable[None]) -> bool:
    """Whether something could be sent; if not, the service ended the call, and its answer or status says why."""
    try:
        await sending
    except (asyncio.InvalidStateError, grpc.aio.InternalError, grpc.aio.AioRpcError):
        return False
    return True


def _is_passing(error: PartialStateError) -> bool:
    """Whether repeating the call soon may help; a service that waits for ReconcileRooms waits for people."""
    return isinstance(error, UnavailableError) and not isinstance(error, NotReconciledError)
