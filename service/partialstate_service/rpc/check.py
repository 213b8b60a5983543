"""CheckService: whether a federation request can be answered."""
# ruff: noqa: N802 - the names are those of the RPCs

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import groupby
from uuid import uuid4

import structlog
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import check_service_pb2_grpc as pb_grpc

from partialstate_service.domain.checks import (
    CheckRequest,
    Decision,
    InvalidCheckError,
    Reason,
    Verdict,
)
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.rooms import StateToken
from partialstate_service.ownership.checking import MAX_BATCH, Checking, Freshness
from partialstate_service.ownership.refusals import RefusedInputError, require_at_most
from partialstate_service.rpc import convert
from partialstate_service.rpc.arrivals import Arrivals
from partialstate_service.rpc.check_messages import Responses, error_of, freshness_of, request_of
from partialstate_service.rpc.grpc_types import Context
from partialstate_service.rpc.status import INTERNAL_ERROR, Failure, failure_of
from partialstate_service.store.meanwhile import meanwhile

_STREAMED_AHEAD = 64
"""How many requests of one stream may wait while others are worked on; more are not read from the connection."""

_log = structlog.get_logger()

Observe = Callable[[Endpoint, Verdict, Reason, int], None]


class CheckServicer(pb_grpc.CheckServiceServicer):
    """Serves CheckService; *observe* is told every decision, or how many there were alike."""

    def __init__(self, checking: Checking, observe: Observe) -> None:
        self._checking = checking
        self._observe = observe
        self._responses = Responses()

    async def Check(self, request: pb.CheckRequest, context: Context) -> pb.CheckResponse:
        """Decide one request."""
        del context
        return await self._decide(request)

    async def BatchCheck(self, request: pb.BatchCheckRequest, context: Context) -> pb.BatchCheckResponse:
        """Decide many requests on one registry."""
        del context
        require_at_most(MAX_BATCH, len(request.requests), "requests")
        items = [_request_or_flaw(message) for message in request.requests]
        sound = [item for item in items if isinstance(item, CheckRequest)]
        decisions, token = await self._checking.check_all(sound, freshness_of(request))
        decided = iter(self._results(sound, decisions, token))
        return pb.BatchCheckResponse(
            results=[
                next(decided) if isinstance(item, CheckRequest) else _no_decision(item) for item in items
            ],
            state_token=convert.token_message(token),
        )

    async def StreamCheck(  # type: ignore[override]  # writes its answers: see `Guard`
        self, request_iterator: AsyncIterator[pb.StreamCheckRequest], context: Context
    ) -> None:
        """Decide requests as they come, those together that wait; answers keep the requests' order."""
        arrived = Arrivals(request_iterator, _STREAMED_AHEAD)
        last: pb.BatchCheckResult | None = None
        response = pb.StreamCheckResponse()
        async with meanwhile(arrived.read()):
            while waiting := await arrived.take():
                for result in await self._streamed([message.request for message in waiting]):
                    if result is not last:  # most are the same object as the one before
                        last, response = result, pb.StreamCheckResponse(result=result)
                    await context.write(response)

    async def _decide(self, message: pb.CheckRequest) -> pb.CheckResponse:
        request = request_of(message)
        decision, token = await self._checking.check(request, freshness_of(message))
        self._observe(request.endpoint, decision.verdict, decision.reason, 1)
        return self._responses.of(decision, token)

    async def _streamed(self, messages: Sequence[pb.CheckRequest]) -> list[pb.BatchCheckResult]:
        """Decide requests of a stream; those that ask for the same freshness are decided on one registry."""
        results: list[pb.BatchCheckResult] = []
        items = [_item(message) for message in messages]
        for freshness, run in groupby(items, key=lambda item: item[0]):
            requests = [request for _, request in run]
            if freshness is None:
                results += [_no_decision(flaw) for flaw in requests if isinstance(flaw, RefusedInputError)]
            else:
                sound = [request for request in requests if isinstance(request, CheckRequest)]
                results += await self._decided_together(sound, freshness)
        return results

    async def _decided_together(
        self, requests: Sequence[CheckRequest], freshness: Freshness
    ) -> list[pb.BatchCheckResult]:
        try:
            decisions, token = await self._checking.check_all(requests, freshness)
            return self._results(requests, decisions, token)
        except Exception as error:  # noqa: BLE001 - the root of streamed checks: it must not end the stream
            failure = failure_of(error)
            if (
                failure is None and len(requests) > 1
            ):  # one of them may be the cause: it must not fail the others
                return [(await self._decided_together([one], freshness))[0] for one in requests]
            if failure is None:
                request_id = uuid4().hex
                _log.exception("check failed unexpectedly", request_id=request_id)
                failure = INTERNAL_ERROR.with_facts(request_id=request_id)
            return [pb.BatchCheckResult(error=error_of(failure))] * len(requests)

    def _results(
        self,
        requests: Sequence[CheckRequest],
        decisions: Sequence[Decision | InvalidCheckError],
        token: StateToken,
    ) -> list[pb.BatchCheckResult]:
        alike = Counter(
            (request.endpoint, decision.verdict, decision.reason)
            for request, decision in zip(requests, decisions, strict=True)
            if isinstance(decision, Decision)
        )
        for kind, count in alike.items():
            self._observe(*kind, count)
        return [
            self._responses.result(decision, token)
            if isinstance(decision, Decision)
            else _no_decision(decision)
            for decision in decisions
        ]


def _item(message: pb.CheckRequest) -> tuple[Freshness | None, CheckRequest | RefusedInputError]:
    try:
        return freshness_of(message), request_of(message)
    except RefusedInputError as flaw:
        return None, flaw


def _request_or_flaw(message: pb.CheckRequest) -> CheckRequest | RefusedInputError:
    try:
        return request_of(message)
    except RefusedInputError as flaw:
        return flaw


def _no_decision(error: RefusedInputError | InvalidCheckError) -> pb.BatchCheckResult:
    failure: Failure = failure_of(error) or INTERNAL_ERROR
    return pb.BatchCheckResult(error=error_of(failure))
