"""The call of WatchService."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from partialstate._calls.connection import Connection
from partialstate._wire import recovered_state as wire
from partialstate._wire import words
from partialstate.changes import Change
from partialstate.consistency import StateToken
from partialstate.v1 import watch_service_pb2 as pb
from partialstate.v1.watch_service_pb2_grpc import WatchServiceStub


class WatchCalls(Connection):
    """The call of WatchService."""

    async def watch(
        self, after: StateToken | None = None, *, room_id: str = ""
    ) -> AsyncGenerator[Change, None]:
        """Yield every change of the registry after a token: ordered, none twice, none left out.

        *after* is the token of a list, a write or an earlier change; None: from now on. *room_id* restricts it to one
        room. Takes itself up again with the last token when the service becomes unavailable or this reader was too
        slow. Leave it early by `contextlib.aclosing`, so that the call ends at once.

        Raises `ListAgainError` if the history since the token is not to be had: list the rooms, watch from there.
        """
        request = pb.WatchRequest(room_id=room_id)
        if after is not None:
            request.optional_after.CopyFrom(words.token_message(after))
        method = self._stub(WatchServiceStub).Watch
        async with aclosing(self._answers(lambda: method(request, metadata=self._metadata))) as answers:
            async for answer in answers:
                request.optional_after.CopyFrom(answer.state_token)
                yield wire.change(answer)
