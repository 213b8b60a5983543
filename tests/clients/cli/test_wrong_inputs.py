"""Whatever is typed or in a file, the command line says in one line what is wrong with it."""

import json

import pytest
from partialstate.cli.app import app
from support.fake_service import FakeService
from typer.testing import CliRunner

HUGE = "9" * 20
DEEP = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.fixture
def refused(fake: FakeService, tmp_path):
    """Run a command line that must be refused as wrong usage, and return what it says."""

    def refused(*arguments: str, stdin: str = "", target: str | None = None) -> str:
        command, *rest = arguments
        target = fake.target if target is None else target
        result = CliRunner().invoke(app, [command, "--target", target, *rest], input=stdin)
        assert result.exit_code == 2, (result.output, result.exception)
        assert "Traceback" not in result.stderr
        return result.stderr

    return refused


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("confirm-join", "!r:a", "--generation", HUGE), ""),
        (("confirm-import", "!r:a", "--generation", "1", "--position", HUGE), ""),
        (("state", "!r:a", "--generation", "1", "--after", HUGE), ""),
        (("check", "--endpoint", "state", "--origin", "a", "--room", "!a\udcffb:c"), ""),
        (("reconcile", "--token", "t", "-"), f'{{"room_id":"!r:a","device_list_position":{HUGE}}}'),
        (("reconcile", "--token", "t", "-"), '{"room_id":"!r:a","device_list_position":true}'),
        (("record", "!r:a", "-"), '{"a":1e400}'),
        (("record", "!r:a", "-"), DEEP),
        (("record-sent", "!r:a", "-"), '{"event_id":"\\ud800","destinations":["a"]}'),
        (("rooms", "--timeout", "inf"), ""),
    ],
)
def test_it_is_wrong_usage_and_no_traceback(refused, arguments, stdin):
    assert refused(*arguments, stdin=stdin)


def test_it_is_json_where_json_is_asked_for(refused):
    line = refused("confirm-join", "!r:a", "--generation", HUGE, "--json").splitlines()[-1]
    assert "error" in json.loads(line)


def test_an_empty_target_is_named(refused):
    assert "--target" in refused("rooms", target="")
