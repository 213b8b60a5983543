"""Calls of the API that may lose their answers, for those who write down what they were told."""

from collections.abc import Awaitable
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

CALL_S = 20.0
_LOST = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}

Answer = tuple[Any, ...]


class LostAnswerError(Exception):
    """Whether the call was made is not known."""


async def asked(method: Any, request: Any) -> Any:
    """Return the response, or the reason of an error as a tuple. Raises LostAnswerError if neither came."""
    try:
        return await method(request, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        raised = error
    reason = reason_of(raised)
    if raised.code() in _LOST or not reason:  # what gRPC says by itself has no reason
        raise LostAnswerError from raised
    return (reason,)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of an error of the API, "" for one that gRPC made itself."""
    status = rpc_status.from_call(error)
    if status is None:
        return ""
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return str(info.reason)


async def done(call: Awaitable[Any]) -> Answer:
    """Return OK, or the reason of an error."""
    answer = await call
    return answer if isinstance(answer, tuple) else ("OK",)
