"""Whatever is typed or in a file, the command line says in one line what is wrong with it."""

import json

import grpc
import pytest
from partialstate.cli.app import app
from partialstate.v1 import recovered_state_service_pb2 as recovered_pb
from partialstate.v1 import types_pb2
from support.fake_service import FakeService, answering, failing, streaming
from typer.testing import CliRunner

HUGE = "9" * 20
DEEP = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
REGISTER = ("register", "-", "--room-version", "11", "--via", "a", "--join-event")
RECONCILE = ("reconcile", "--token", "t", "-")
CHECK = ("check", "--endpoint", "backfill", "--origin", "a", "--room")


@pytest.fixture
def refused(fake: FakeService):
    """Run a command line that must be refused as wrong usage, and return what it says."""

    def refused(*arguments: str, stdin: str = "", target: str | None = None) -> str:
        command, *rest = arguments
        target = fake.target if target is None else target
        result = CliRunner().invoke(app, [command, "--target", target, *rest], input=stdin)
        assert (result.exit_code, result.stdout) == (2, ""), (result.output, result.exception)
        assert "Traceback" not in result.stderr
        return result.stderr

    return refused


WRONG = [
    (("confirm-join", "!r:a", "--generation", HUGE), "", "--generation"),
    (("release", "!r:a", "--reason", "left", "--generation", HUGE), "", "--generation"),
    (("ack", "!r:a", "--position", HUGE), "", "--position"),
    (("confirm-import", "!r:a", "--position", HUGE), "", "--position"),
    (("state", "!r:a", "--after", HUGE), "", "--after"),
    ((*REGISTER, "/nowhere", "--device-list-position", HUGE), "", "--device-list-position"),
    ((*REGISTER, "/nowhere", "--device-list-position", f"-{HUGE}"), "", "--device-list-position"),
    ((*RECONCILE, "--timeout", "inf"), "", "--timeout"),
    ((*RECONCILE, "--timeout", "nan"), "", "--timeout"),
    ((*RECONCILE, "--timeout", "1e300"), "", "--timeout"),
    ((*CHECK, "!a\udcffb:c"), "", "'!a\\udcffb:c' is not text"),
    (("room", "!a\udcffb:c"), "", "'!a\\udcffb:c' is not text"),
    (RECONCILE, f'{{"room_id":"!r:a","device_list_position":{HUGE}}}', "line 1: device_list_position"),
    (RECONCILE, '{"room_id":"!r:a","device_list_position":true}', "line 1: device_list_position"),
    (RECONCILE, '"!r:a"\n"\\ud800"', "line 2: the room's id"),
    (("record", "!r:a", "-"), '{"a":1}\n{"a":NaN}', "line 2: a number is not finite"),
    (("record", "!r:a", "-"), '{"pdu":{"a":1e400}}', "line 1: a number is not finite"),
    (("record", "!r:a", "-"), DEEP, "line 1: nested too deeply"),
    (("record", "!r:a", "-"), '{"pdu":{},"event_id":"\\ud800"}', "line 1: event_id is not Unicode"),
    (("record", "!r:a", "-"), '{"event_id":"\\ud800"}', "line 1: event_id is not Unicode"),
    ((*REGISTER, "-"), DEEP, "nested too deeply"),
    ((*REGISTER, "-"), '{"a":-Infinity}', "a number is not finite"),
    (("record-sent", "!r:a", "-"), '{"event_id":"\\ud800","destinations":["a"]}', "line 1: event_id"),
    (("record-sent", "!r:a", "-"), '{"event_id":"$e","destinations":["\\ud800"]}', "line 1: destinations"),
    ((*CHECK, "!r:a", "--candidates", "-"), '{"event_id":"\\ud800"}', "line 1: event_id"),
    (("rooms", "--token-file", "-"), "t\u00f6ken", "printable ASCII"),
    (("rooms", "--token-file", "-"), "to\x01ken", "printable ASCII"),
]


@pytest.mark.parametrize(("arguments", "stdin", "says"), WRONG)
def test_it_is_wrong_usage_and_named(refused, arguments, stdin, says):
    assert says in refused(*arguments, stdin=stdin)


@pytest.mark.parametrize(("arguments", "stdin", "says"), WRONG)
def test_it_is_one_line_of_json_where_json_is_asked_for(refused, arguments, stdin, says):
    (line,) = refused(*arguments, "--json", stdin=stdin).splitlines()
    assert says in json.loads(line)["error"]["message"]


def test_an_empty_target_is_named(refused):
    assert "--target" in refused("rooms", target="")


def test_a_lone_surrogate_within_an_event_passes_through(fake):
    fake.on("RecordPartialEvents", failing(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"))
    arguments = ["record", "--target", fake.target, "!r:a", "-"]
    assert CliRunner().invoke(app, arguments, input='{"a":"\\ud800"}').exit_code == 8
    (event,) = fake.calls("RecordPartialEvents")[0].request.events
    assert event.pdu.json == b'{"a":"\\ud800"}'


def test_the_largest_numbers_are_sent(fake):
    fake.on("AckImport", answering(recovered_pb.AckImportResponse()))
    largest = str(2**63 - 1)
    arguments = ["ack", "!r:a", "--target", fake.target, "--generation", largest, "--position", largest]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert fake.calls("AckImport")[0].request.position == 2**63 - 1


def test_what_the_service_sends_is_never_called_wrong_usage(fake):
    pdu = types_pb2.Pdu(event_id="$e", json=DEEP.encode())
    event = recovered_pb.StreamRecoveredStateResponse(position=1, event=recovered_pb.RecoveredEvent(pdu=pdu))
    fake.on("StreamRecoveredState", streaming(event))
    arguments = ["state", "!r:a", "--target", fake.target, "--generation", "1"]
    assert CliRunner().invoke(app, arguments).exit_code == 1
