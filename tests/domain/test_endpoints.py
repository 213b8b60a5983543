"""The endpoints as data, compared with the API's contract and with how requests look."""

import re
from pathlib import Path

from partialstate_service.domain.checks import Reason, Verdict
from partialstate_service.domain.decisions import ROOM_REQUIRED
from partialstate_service.domain.endpoints import Endpoint

CHECK_SERVICE = Path(__file__).parents[2] / "protos" / "partialstate" / "v1" / "check_service.proto"


def _proto_names(enum: str) -> set[str]:
    body = re.search(rf"^enum {enum} {{(.*?)^}}", CHECK_SERVICE.read_text(), re.MULTILINE | re.DOTALL)
    assert body is not None
    names = re.findall(r"^  ([A-Z0-9_]+) = \d+;", body[1], re.MULTILINE)
    prefix = f"{enum.upper()}_"
    return {name.removeprefix(prefix) for name in names} - {"UNSPECIFIED"}


def test_the_contract_has_the_same_words() -> None:
    """Endpoints, reasons and verdicts are the same in the API as in the domain."""
    assert _proto_names("Endpoint") == set(Endpoint.__members__)
    assert _proto_names("Reason") == set(Reason.__members__)
    assert _proto_names("Verdict") == set(Verdict.__members__)


def test_no_operation_is_listed_twice() -> None:
    """An enum would make a repeated value an alias, silently."""
    assert len(Endpoint.__members__) == len(list(Endpoint))


def test_the_specification_has_36_operations() -> None:
    """Two first versions and two unstable operations come on top of the specification's."""
    assert len(Endpoint) == 36 + 2 + 2


def test_an_endpoint_with_a_room_in_its_path_needs_one() -> None:
    """So does /event/{eventId}, whose event has a room."""
    assert {e for e in Endpoint if "{roomId}" in e.path} | {Endpoint.EVENT} == ROOM_REQUIRED
