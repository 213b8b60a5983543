"""What stands before every call: its admission, the time limit, the table of errors, and the end of the service.

Not an interceptor of grpc, which costs every call a coroutine. Every handler is one of streams of requests: for the one
request of others grpc waits without end, before anybody is asked who calls, and without counting.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

import grpc
import structlog

from partialstate_service.ownership.refusals import InputFlaw, RefusedInputError
from partialstate_service.rpc.admission import Admission
from partialstate_service.rpc.grpc_types import Context, GenericHandler, Handler
from partialstate_service.rpc.open_streams import OpenStreams
from partialstate_service.rpc.status import (
    INTERNAL_ERROR,
    StoppingError,
    failure_of,
)
from partialstate_service.rpc.time_limit import TimeLimit

_log = structlog.get_logger()

# Calls that stand for many, in the client's rate.
_CALLS_IN: Mapping[str, Callable[[Any], int]] = {
    "/partialstate.v1.CheckService/BatchCheck": lambda request: max(len(request.requests), 1)
}
# Each request of such a stream is a call of its own.
_STREAMS_OF_CALLS = frozenset({"/partialstate.v1.CheckService/StreamCheck"})
_LOOK_AGAIN_S = 1.0
"""How soon a token that was withdrawn ends the streams that were opened with it."""


class CallObserver(Protocol):
    """Who is told what becomes of calls."""

    def observe_failed_call(self, reason: str) -> None:
        """Note a call without a result; *reason* is one of errors.proto, or DEADLINE_EXCEEDED."""

    def observe_delayed_check(self) -> None:
        """Note a request of a stream that waits, since its client makes more than it may."""


class Guard(GenericHandler):
    """Wraps every handler: no exception leaves the process but as a status of the table."""

    def __init__(
        self,
        guarded: GenericHandler,
        admission: Admission,
        observed: CallObserver,
        *,
        unary_timeout_s: float,
        upload_timeout_s: float,
    ) -> None:
        """Let calls that *admission* admits to what is *guarded*.

        *unary_timeout_s* limits a call of one message, *upload_timeout_s* one with a stream of requests and one answer.
        Streams of answers end with the client or the service, or when the client is not known any more.
        """
        self._guarded = guarded
        self._admission = admission
        self._observed = observed
        self._unary_limit = TimeLimit(unary_timeout_s)
        self._upload_limit = TimeLimit(upload_timeout_s)
        self._streams = OpenStreams()
        self._wrapped: dict[str, Handler] = {}

    def end_streams(self) -> None:
        """End the streams of answers."""
        self._streams.end_all(StoppingError)

    async def follow_clients(self) -> None:
        """End the streams of clients that are not known any more, or may not call them any more, until cancelled."""
        if (known := self._admission.known_clients()) is None:
            return
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            if (now := self._admission.known_clients()) is not known:
                known = now
                await self._streams.ask_all()

    def forget_handlers(self) -> None:
        """Look for the handlers anew: there are others now."""
        self._wrapped.clear()

    def service(self, details: grpc.HandlerCallDetails) -> Handler | None:
        """Return the handler of a call, wrapped; None for a method that is not guarded here."""
        method = details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = self._guarded.service(details)
            if handler is None:
                return None
            wrapped = (
                self._stream_handler(handler, method)
                if handler.response_streaming
                else self._unary_handler(handler, method)
            )
            # There are as many as there are methods: an unknown one has no handler.
            self._wrapped[method] = wrapped
        return wrapped

    def _unary_handler(self, handler: Handler, method: str) -> Handler:
        is_upload = handler.request_streaming
        behaviour: Any = handler.stream_unary if is_upload else handler.unary_unary
        limit = self._upload_limit if is_upload else self._unary_limit
        calls_in = _CALLS_IN.get(method)

        async def call(requests: Any, context: Context) -> Any:
            try:
                with limit.begun():
                    client = self._admission.enter(method, context)
                    try:
                        request = requests if is_upload else await _one_request(context)
                        if calls_in is not None:
                            self._admission.count(client, calls_in(request) - 1)
                        return await behaviour(request, context)
                    finally:
                        self._admission.leave(client)
            except Exception as error:  # noqa: BLE001 - the root of a call
                await self._abort(error, method, context)

        return grpc.stream_unary_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )

    def _stream_handler(self, handler: Handler, method: str) -> Handler:
        behaviour: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream

        # A coroutine that writes, not a generator: it ends with its call, whatever it awaits (PEP 525 leaves a
        # generator that is cancelled between two items to the garbage collector).
        async def call(requests: Any, context: Context) -> None:
            try:
                async with self._streams.endable(partial(self._admission.objection, method, context)):
                    client = self._admission.enter(method, context)
                    try:
                        if not handler.request_streaming:
                            with self._unary_limit.begun():
                                request = await _one_request(context)
                        elif method in _STREAMS_OF_CALLS:
                            request = _Delayed(requests, partial(self._delay_s, client))
                        else:
                            request = requests
                        await _answer(behaviour(request, context), context)
                    finally:
                        self._admission.leave(client)
            except Exception as error:  # noqa: BLE001 - the root of a call
                await self._abort(error, method, context)

        return grpc.stream_stream_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )

    def _delay_s(self, client: str) -> float:
        """Return how long one call more of the client must wait for its rate."""
        if delay_s := self._admission.count(client, 1):
            self._observed.observe_delayed_check()
        return delay_s

    async def _abort(self, error: Exception, method: str, context: Context) -> None:
        """End the call with the status of *error*; an unforeseen one is logged under an id that the caller is told."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if isinstance(error, TimeoutError):
            self._observed.observe_failed_call("DEADLINE_EXCEEDED")
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the call took longer than the service allows"
            )
        failure = failure_of(error)
        if failure is None:
            request_id = uuid4().hex
            _log.error("call failed unexpectedly", method=method, request_id=request_id, exc_info=error)
            failure = INTERNAL_ERROR.with_facts(request_id=request_id)
        self._observed.observe_failed_call(failure.reason_name)
        status = failure.rich_status()
        await context.abort(status.code, status.details, status.trailing_metadata)


class _Delayed:
    """A stream of requests, each of which comes after a delay; those behind it wait where they are."""

    def __init__(self, requests: AsyncIterator[Any], delay_s: Callable[[], float]) -> None:
        self._requests = requests
        self._delay_s = delay_s

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        request = await anext(self._requests)
        if delay_s := self._delay_s():
            await asyncio.sleep(delay_s)
        return request


async def _one_request(context: Context) -> Any:
    """Return the request of a call that has one."""
    request = await context.read()
    if request is grpc.aio.EOF:  # type: ignore[attr-defined]  # its stubs lack it
        raise RefusedInputError(InputFlaw.INVALID_STREAM, "the call has no request")
    return request


async def _answer(answers: Any, context: Context) -> None:
    """Let a stream be answered, by a coroutine that writes or, as reflection has it, a generator."""
    if hasattr(answers, "__aiter__"):
        async for answer in answers:
            await context.write(answer)
    else:
        await answers
