"""The calls of CheckService."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from partialstate._calls.check_stream import CheckStream
from partialstate._calls.connection import Connection
from partialstate._wire import checks as wire
from partialstate._wire import words
from partialstate.checks import CheckRequest, Decision, Reason, Verdict
from partialstate.consistency import Consistency
from partialstate.errors import PartialStateError
from partialstate.no_decision import UNSTABLE_ERRCODE, error_without_decision, needs_check
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1.check_service_pb2_grpc import CheckServiceStub


class CheckCalls(Connection):
    """The calls of CheckService. A refusal is a decision; an exception means that there is none."""

    async def check(self, request: CheckRequest) -> Decision:
        """Decide one request. Any `PartialStateError` means: no decision (`decide` applies the table for that)."""
        method = self._stub(CheckServiceStub).Check
        answer = await self._unary(method, wire.request_message(request), self.deadlines.check_s)
        return wire.decision(answer)

    async def decide(self, request: CheckRequest, *, errcode: str = UNSTABLE_ERRCODE) -> Decision:
        """Decide one request, whatever becomes of the service.

        Does not ask about endpoints that need no check (`needs_check`). Where the service gives no decision the
        no-decision table does: the reason is then NO_DECISION, and `Decision.failure` says why. *errcode* is how that
        table spells MSC3895's code.
        """
        if not needs_check(request.endpoint):
            return Decision(Verdict.PROCEED, Reason.NO_CHECK_NEEDED)
        try:
            return await self.check(request)
        except PartialStateError as failure:
            return decision_without_service(request, failure, errcode=errcode)

    async def batch_check(
        self, requests: Sequence[CheckRequest], *, consistency: Consistency | None = None
    ) -> list[Decision | PartialStateError]:
        """Decide many requests, at most 1,000, on one registry; one result per request, in their order.

        An item without a decision has its error in the decision's place and spoils no other.
        """
        message = pb.BatchCheckRequest(requests=map(wire.request_message, requests))
        if consistency is not None:
            message.optional_consistency.CopyFrom(words.consistency_message(consistency))
        method = self._stub(CheckServiceStub).BatchCheck
        answer: pb.BatchCheckResponse = await self._unary(method, message, self.deadlines.check_s)
        return list(map(wire.result, answer.results))

    @asynccontextmanager
    async def stream_check(self) -> AsyncGenerator[CheckStream, None]:
        """Open a stream for many checks: cheaper than a call for each, and concurrent ones overlap."""
        method = self._stub(CheckServiceStub).StreamCheck
        stream = CheckStream(lambda: method(None, metadata=self._metadata), self.deadlines.check_s)
        try:
            yield stream
        finally:
            await stream.close()


def decision_without_service(
    request: CheckRequest, failure: PartialStateError | None = None, *, errcode: str = UNSTABLE_ERRCODE
) -> Decision:
    """Return what the no-decision table says to *request*, after *failure*."""
    error = error_without_decision(request.endpoint, errcode=errcode)
    verdict = Verdict.PROCEED if error is None else Verdict.REFUSE
    return Decision(verdict, Reason.NO_DECISION, error=error, failure=failure)
