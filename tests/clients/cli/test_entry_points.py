"""What surrounds the commands: defaults, extras that are missing, and live bars."""

import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from partialstate import DEFAULT_TARGET, Ending, RoomChanged, RoomEnded, StateToken
from partialstate._wire import rooms as wire
from partialstate.cli import __main__ as entry
from partialstate.cli.app import app
from partialstate.cli.output import Output
from partialstate.cli.resync_view import ResyncView, age_text
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from partialstate.v1 import types_pb2
from partialstate_service import entry_point as service_entry
from partialstate_service.settings import Settings, load_settings
from rich.console import Console
from typer.testing import CliRunner

DEMO = "partialstate_service.demo.__main__"


def test_the_default_target_is_where_a_service_listens_by_default():
    assert Settings.model_fields["listen"].default == DEFAULT_TARGET


def test_a_service_may_start_in_the_shell_of_its_client(monkeypatch):
    monkeypatch.setenv("PARTIALSTATE_TARGET", DEFAULT_TARGET)
    monkeypatch.setenv("PARTIALSTATE_SERVER_NAME", "us.example")
    monkeypatch.setenv("PARTIALSTATE_SIGNING_KEY_PATH", "key")
    assert load_settings().listen == DEFAULT_TARGET


def test_the_client_needs_neither_the_command_line_nor_the_service():
    code = "import sys, partialstate; print([m for m in ('typer', 'rich', 'partialstate_service') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "[]\n"


def test_a_missing_extra_is_named(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("partialstate.cli.app")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as exited:
        entry.main()
    assert exited.value.code == 1
    assert "pip install 'matrix-partial-state[cli]'" in capsys.readouterr().err


def test_what_the_service_lacks_is_named(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "partialstate_service.__main__", raising=False)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert service_entry.main() == 1
    assert "the service needs yaml: pip install 'matrix-partial-state[embedded]'" in capsys.readouterr().err


def test_the_demo_gets_its_options_and_gives_its_exit_code(monkeypatch):
    given: list[list[str]] = []

    def main(arguments: list[str]) -> int:
        given.append(arguments)
        return 3

    module = ModuleType(DEMO)
    module.main = main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, DEMO, module)
    assert CliRunner().invoke(app, ["demo", "--json", "--members", "5"]).exit_code == 3
    assert CliRunner().invoke(app, ["demo", "--help"]).exit_code == 3
    assert given == [["--json", "--members", "5"], ["--help"]]


def test_a_demo_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, DEMO, None)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 1
    assert "pip install 'matrix-partial-state[demo]'" in result.stderr


def changed(status: types_pb2.RoomStatus.ValueType, **resync: object) -> RoomChanged:
    progress = rooms_pb.ResyncProgress(stage=rooms_pb.RESYNC_STAGE_FETCHING_EVENTS, **resync)  # type: ignore[arg-type]
    room = rooms_pb.PartialRoom(room_id="!r:a\x1b[2J", generation=3, status=status, resync=progress)
    return RoomChanged(StateToken("t"), wire.room(room))


def test_a_terminal_gets_a_bar_per_room_and_nothing_that_steers_it():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=20, color_system=None)
    with ResyncView(Output(as_json=False, console=console)) as view:
        view.show(changed(types_pb2.ROOM_STATUS_RESYNCING))
        view.show(changed(types_pb2.ROOM_STATUS_RESYNCING, events_verified=10, events_expected=40))
        view.show(changed(types_pb2.ROOM_STATUS_STALLED, attempt_count=2, last_failure="nobody answers"))
        view.show(changed(types_pb2.ROOM_STATUS_AWAITING_IMPORT))
        view.show(RoomEnded(StateToken("t"), "!gone:a\x1b[2J", 3, Ending.IMPORTED))
    shown = screen.getvalue()
    assert "AWAITING_IMPORT" in shown
    assert "generation 3 ENDED IMPORTED" in shown
    assert "\x1b[2J" not in shown


def test_the_bar_of_a_room_goes_with_its_partial_state():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=20, color_system=None)
    with ResyncView(Output(as_json=False, console=console)) as view:
        view.show(changed(types_pb2.ROOM_STATUS_RESYNCING))
        view.show(RoomEnded(StateToken("t"), "!r:a\x1b[2J", 3, Ending.IMPORTED))
    assert "RESYNCING" not in screen.getvalue().splitlines()[-1]
    assert "ENDED IMPORTED" in screen.getvalue()


def test_what_is_not_a_terminal_gets_a_line_per_visible_change(capsys):
    with ResyncView(Output(as_json=False)) as view:
        view.show(changed(types_pb2.ROOM_STATUS_RESYNCING, events_verified=10))
        view.show(changed(types_pb2.ROOM_STATUS_RESYNCING, events_verified=10))
        view.show(changed(types_pb2.ROOM_STATUS_STALLED, attempt_count=2, last_failure="nobody answers"))
        waiting = {
            "attempt_count": 3,
            "optional_next_attempt": Timestamp(seconds=60),
            "last_failure": "no keys",
        }
        view.show(changed(types_pb2.ROOM_STATUS_RESYNCING, **waiting))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" generation 3 ")[1] for line in lines] == [
        "RESYNCING fetching events, 10 of ? events",
        "STALLED 2 attempts: nobody answers",
        "RESYNCING 3 attempts, next attempt 1970-01-01 00:01:00Z: no keys",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (90_000, "1 d")]
)
def test_ages(seconds, text):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert age_text(now - timedelta(seconds=seconds), now) == text
    assert age_text(None, now) == "-"
