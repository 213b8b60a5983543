"""Enums, by name; a name of a newer service becomes UNKNOWN where the client can live with that."""

from collections.abc import Iterable
from typing import Generic, TypeVar, cast

from google.protobuf.descriptor import EnumDescriptor

from partialstate._api_name import ApiName
from partialstate.checks import Reason, Verdict
from partialstate.endpoints import Endpoint
from partialstate.errors import ServiceDefectError
from partialstate.joins import RegistrationOutcome, ReleaseReason, ResyncPriority
from partialstate.recording import ProvisionalVerdict, RecordOutcome
from partialstate.rooms import Ending, ResyncStage, RoomStatus
from partialstate.v1 import check_service_pb2 as check_pb
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from partialstate.v1 import types_pb2

_Name = TypeVar("_Name", bound=ApiName)


class Names(Generic[_Name]):
    """One enum of the API and the client's enum for it."""

    def __init__(self, names: type[_Name], descriptor: EnumDescriptor, prefix: str) -> None:
        """*prefix* is what the API's names have before the client's."""
        members: dict[str, _Name] = dict(names.__members__.items())
        self._title = names.__name__
        self._unknown = members.get("UNKNOWN")
        self._numbers: dict[_Name, int] = {}
        self._names: dict[int, _Name] = {}
        for value in descriptor.values:
            if (name := members.get(value.name.removeprefix(prefix))) is not None:
                self._numbers[name] = value.number
                self._names[value.number] = name

    def number(self, name: _Name) -> int:
        """Return the number of *name*; ValueError for a name that the API does not have."""
        try:
            return self._numbers[name]
        except KeyError:
            raise ValueError(f"{name} is not a {self._title} of the API") from None

    def name(self, number: int) -> _Name:
        """Return the name of *number*; ServiceDefectError if the client must know it and does not."""
        name = self._names.get(number, self._unknown)
        if name is None:
            raise ServiceDefectError(f"the service answered with the {self._title} {number}, unknown here")
        return name

    def names(self, numbers: Iterable[int]) -> tuple[_Name, ...]:
        """Return the names of *numbers*."""
        return tuple(map(self.name, numbers))


def _enum(wrapper: object) -> EnumDescriptor:
    return cast("EnumDescriptor", getattr(wrapper, "DESCRIPTOR"))  # noqa: B009 - the stubs do not agree on its type


ENDPOINTS = Names(Endpoint, _enum(check_pb.Endpoint), "ENDPOINT_")
VERDICTS = Names(Verdict, _enum(check_pb.Verdict), "VERDICT_")
REASONS = Names(Reason, _enum(check_pb.Reason), "REASON_")
STATUSES = Names(RoomStatus, _enum(types_pb2.RoomStatus), "ROOM_STATUS_")
ENDINGS = Names(Ending, _enum(types_pb2.Ending), "ENDING_")
STAGES = Names(ResyncStage, _enum(rooms_pb.ResyncStage), "RESYNC_STAGE_")
PRIORITIES = Names(ResyncPriority, _enum(rooms_pb.ResyncPriority), "RESYNC_PRIORITY_")
REGISTRATION_OUTCOMES = Names(
    RegistrationOutcome, _enum(rooms_pb.RegistrationOutcome), "REGISTRATION_OUTCOME_"
)
PROVISIONAL_VERDICTS = Names(ProvisionalVerdict, _enum(rooms_pb.ProvisionalVerdict), "PROVISIONAL_VERDICT_")
RECORD_OUTCOMES = Names(RecordOutcome, _enum(rooms_pb.RecordOutcome), "RECORD_OUTCOME_")
RELEASE_REASONS = Names(ReleaseReason, _enum(rooms_pb.ReleaseReason), "RELEASE_REASON_")
