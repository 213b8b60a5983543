"""The status of a call that the service ended while requests were still being sent.

grpcio lets a write that fails then take the place of the status that the service gave, as "Internal error from Core"
(grpc/grpc#36066, open as of grpcio 1.85): a refusal in the middle of an upload would look like a defect.
"""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc

if TYPE_CHECKING:  # generic in their stubs but not at run time
    _Call: TypeAlias = grpc.aio.StreamUnaryCall[Any, Any] | grpc.aio.StreamStreamCall[Any, Any]

_T = TypeVar("_T")

_OF_THE_WRITE = "Internal error from Core"


class TrueStatus:
    """Notes the status that the service gives a call; to be made before the first write."""

    def __init__(self, call: "_Call") -> None:
        self._noted: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    def of(self, failure: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """Return what the service said where it is known and *failure* took its place, else *failure*."""
        return self._noted if self._noted is not None and is_of_write(failure) else failure

    def _note(self, call: "_Call") -> None:
        # Called at the very moment when the status is set first; so none of these has to wait.
        code, details = _at_once(call.code()), _at_once(call.details())
        if code is not grpc.StatusCode.OK and details != _OF_THE_WRITE:
            trailing = _at_once(call.trailing_metadata())
            self._noted = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details, None)


def is_of_write(failure: grpc.aio.AioRpcError) -> bool:
    """Return whether *failure* tells of a write that failed, not of what the service said."""
    return failure.details() == _OF_THE_WRITE


def _at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: _T = finished.value
        return result
    coroutine.close()
    raise RuntimeError("the status of a call that is done was not at hand")
