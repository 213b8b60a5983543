"""Whatever is typed or in a file, the command line says in one line what is wrong with it."""

import json
from types import SimpleNamespace

import grpc
import pytest
from partialstate.cli.app import app
from partialstate.v1 import recovered_state_service_pb2 as recovered_pb
from partialstate.v1 import types_pb2
from support.fake_service import FakeService, answering, failing, streaming
from typer.testing import CliRunner

HUGE = "9" * 20
DEEP = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
REGISTER = ("register", "/nowhere", "--room-version", "11", "--via", "a", "--join-event")
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
    ((*CHECK, "!a\udcffb:c"), "", "--room is not Unicode"),
    (("room", "!a\udcffb:c"), "", "ROOM is not Unicode"),
    (("retry", "!r:a", "--server", "a", "--server", "\udcff"), "", "--server is not Unicode"),
    (("rooms", "--target", "\udcff"), "", "--target is not Unicode"),
    (
        ("register", "-", "--room-version", "11", "--via", "a", "--join-event", "-"),
        "{}",
        "RESPONSE, --join-event",
    ),
    ((*RECONCILE, "--token-file", "-"), '"!r:a"', "ROOMS, --token-file"),
    (("record", "!r:a", "/nowhere\udcff"), "", "cannot read /nowhere"),
    (("record", "!r:a", "-"), "", "the standard input: 0 events"),
    (
        ("record", "!r:a", "-"),
        '{"a":1}\n{"a":',
        "the standard input, line 2: not JSON: Expecting value (column 6)",
    ),
    (("record", "!r:a", "-"), '{"a":[{"b":1,"b":1}]}', 'line 1: "b" is there twice'),
    (("record", "!r:a", "-"), f'{{"a":{"9" * 5000}}}', "line 1: a number is too long"),
    ((*REGISTER, "-"), '{"room_id":5}', "room_id must be a text"),
    ((*REGISTER, "-"), '{"room_id":"\\ud800"}', "room_id is not Unicode"),
    ((*REGISTER, "-"), '{\n"a":}', "not JSON: Expecting value (line 2, column 5)"),
    (RECONCILE, f'{{"room_id":"!r:a","device_list_position":{HUGE}}}', "line 1: device_list_position"),
    (RECONCILE, '{"room_id":"!r:a","device_list_position":true}', "line 1: device_list_position"),
    (RECONCILE, '"!r:a"\n"\\ud800"', "line 2: the room's id"),
    (("record", "!r:a", "-"), '{"a":1}\n{"a":NaN}', "line 2: a number is not finite"),
    (("record", "!r:a", "-"), '{"pdu":{"a":1e400}}', "line 1: a number is not finite"),
    (("record", "!r:a", "-"), '{"pdu":3}', "line 1: pdu: must be a JSON object"),
    (RECONCILE, '{"join_event":3}', "line 1: join_event: must be a JSON object"),
    (RECONCILE, '{"non_member_state":[3]}', "line 1: non_member_state: must be a JSON object"),
    (RECONCILE, '{"partial_events":[{"pdu":3}]}', "line 1: partial_events: pdu: must be a JSON object"),
    (("record", "!r:a", "-"), DEEP, "line 1: nested too deeply"),
    (("record", "!r:a", "-"), '{"pdu":{},"event_id":"\\ud800"}', "line 1: event_id is not Unicode"),
    (("record", "!r:a", "-"), '{"event_id":"\\ud800"}', "line 1: event_id is not Unicode"),
    ((*REGISTER, "-"), DEEP, "nested too deeply"),
    ((*REGISTER, "-"), '{"a":-Infinity}', "a number is not finite"),
    (("record-sent", "!r:a", "-"), '{"event_id":"\\ud800","destinations":["a"]}', "line 1: event_id"),
    (("record-sent", "!r:a", "-"), '{"event_id":"$e","destinations":["\\ud800"]}', "line 1: destinations"),
    ((*CHECK, "!r:a", "--candidates", "-"), '{"event_id":"\\ud800"}', "line 1: event_id"),
    (("rooms", "--token-file", "-"), "t\u00f6ken", "printable ASCII"),
    (
        ("rooms", "--token-file", "-"),
        "# ours\nto\x01ken",
        "--token-file (PARTIALSTATE_TOKEN_FILE): the standard input, line 2",
    ),
    (("rooms", "--token-file", "-"), "to\x0cken", "printable ASCII"),
    (("rooms", "--token-file", "-"), "to\x1cken", "printable ASCII"),
    (("rooms", "--token-file", "-"), "\n", "holds no token"),
    (("rooms", "--ca-file", ""), "", "cannot read ''"),
    (("rooms", "--ca-file", "-"), "no certificate", "the standard input holds no PEM"),
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


@pytest.mark.parametrize("event", [DEEP.encode(), b"{", b"\xff"])
def test_what_the_service_sends_is_never_called_wrong_usage(fake, event):
    pdu = types_pb2.Pdu(event_id="$e", json=event)
    record = recovered_pb.StreamRecoveredStateResponse(position=1, event=recovered_pb.RecoveredEvent(pdu=pdu))
    fake.on("StreamRecoveredState", streaming(record))
    arguments = ["state", "!r:a", "--target", fake.target, "--generation", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr == "partialstate: the service sent an event that is not JSON: $e\n"


def test_a_closed_standard_input_is_named(refused, monkeypatch):
    monkeypatch.setattr("partialstate.cli.input_files.sys", SimpleNamespace(stdin=None))
    assert "the standard input is closed" in refused(*RECONCILE)
