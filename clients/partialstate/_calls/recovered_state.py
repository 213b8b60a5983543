"""The calls of RecoveredStateService."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from partialstate._calls.connection import Connection
from partialstate._wire import recovered_state as wire
from partialstate._wire import words
from partialstate.consistency import StateToken
from partialstate.errors import RoomNotPartialError
from partialstate.recovered_state import Acknowledgement, RecoveredRecord
from partialstate.v1 import recovered_state_service_pb2 as pb
from partialstate.v1.recovered_state_service_pb2_grpc import RecoveredStateServiceStub


class RecoveredStateCalls(Connection):
    """The calls of RecoveredStateService."""

    async def recovered_state(
        self, room_id: str, generation: int, *, after_position: int = 0, follow: bool = False
    ) -> AsyncGenerator[RecoveredRecord, None]:
        """Yield the records of the recovered state beyond *after_position*, then a `LogEnd`.

        With *follow* goes on as the log grows, with a `LogEnd` whenever all that is committed was sent, until the room's
        partial state ends. Takes itself up again after the last record when the service becomes unavailable. Leave it
        early by `contextlib.aclosing`, so that the call ends at once.

        Raises `RoomNotPartialError`, `StaleGenerationError`, `PositionOutOfRangeError`.
        """
        request = pb.StreamRecoveredStateRequest(
            room_id=room_id, generation=generation, after_position=after_position, follow=follow
        )
        method = self._stub(RecoveredStateServiceStub).StreamRecoveredState
        seen = False
        try:
            async with aclosing(self._answers(lambda: method(request, metadata=self._metadata))) as answers:
                async for answer in answers:
                    seen = True
                    request.after_position = max(request.after_position, answer.position)
                    if (record := wire.record(answer)) is not None:
                        yield record
        except RoomNotPartialError:
            if not (follow and seen):  # else it ended while the stream was being taken up again
                raise

    async def ack_import(self, room_id: str, generation: int, position: int) -> Acknowledgement:
        """Say that the recovered state is imported up to *position*; a lower one than before changes nothing."""
        request = pb.AckImportRequest(room_id=room_id, generation=generation, position=position)
        method = self._stub(RecoveredStateServiceStub).AckImport
        answer = await self._unary(method, request, self.deadlines.write_s)
        return Acknowledgement(answer.acknowledged_position, words.token(answer.state_token))

    async def confirm_import(self, room_id: str, generation: int, position: int) -> StateToken:
        """End the partial state of a room, if all is recovered and *position* is the log's last.

        Raises `ImportIncompleteError`, which says what is left, and `StaleGenerationError`.
        """
        request = pb.ConfirmImportRequest(room_id=room_id, generation=generation, position=position)
        method = self._stub(RecoveredStateServiceStub).ConfirmImport
        return words.token((await self._unary(method, request, self.deadlines.write_s)).state_token)
