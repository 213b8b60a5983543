"""A standard output that is full, closed, or left by its reader: one line at most, and an exit code that tells."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from support.fake_service import answering

COMMANDS = [("rooms",), ("rooms", "--json"), ("confirm-join", "!r:a"), ("version",), ("rooms", "--help")]
FULL = Path("/dev/full")


@pytest.fixture
def shell(fake):
    """Run a command line as a process; return its exit code and what it says on the standard error."""
    rooms = [rooms_pb.PartialRoom(room_id="!\u20ac:a", generation=1)]
    fake.on("ListPartialRooms", answering(rooms_pb.ListPartialRoomsResponse(rooms=rooms)))
    fake.on("GetPartialRoom", answering(rooms_pb.GetPartialRoomResponse(room={"generation": 1})))
    fake.on("ConfirmJoin", answering(rooms_pb.ConfirmJoinResponse()))
    # What is not buffered fails at once; what is fails when all seems done, which is the harder case.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    def shell(
        *arguments: str, redirected: str = "", encoding: str = "utf-8", **options: Any
    ) -> tuple[int, str]:
        ended = subprocess.run(
            (
                "sh",
                "-c",
                f'exec "$@" {redirected}',
                "sh",
                sys.executable,
                "-m",
                "partialstate.cli",
                *arguments,
            ),
            stderr=subprocess.PIPE,
            text=True,
            env=environment | {"PARTIALSTATE_TARGET": fake.target, "PYTHONIOENCODING": encoding},
            timeout=60,
            check=False,
            **options,
        )
        return ended.returncode, ended.stderr

    return shell


def told(says: str, arguments: tuple[str, ...]) -> str:
    (line,) = says.splitlines()
    message = (
        json.loads(line)["error"]["message"] if "--json" in arguments else line.removeprefix("partialstate: ")
    )
    assert isinstance(message, str)
    return message


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_full_disk_is_one_line(shell, arguments):
    exit_code, says = shell(*arguments, redirected=f">{FULL}")
    assert (exit_code, told(says, arguments)) == (1, "cannot write the output: No space left on device")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_closed_output_is_one_line_and_nothing_is_done(fake, shell, arguments):
    exit_code, says = shell(*arguments, redirected=">&-")
    assert (exit_code, told(says, arguments)) == (1, "cannot write the output: it is closed")
    assert not fake.calls("ConfirmJoin")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_reader_that_has_left_is_no_news(shell, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert shell(*arguments, stdout=writing) == (1, "")
    finally:
        os.close(writing)


def test_errors_do_not_go_to_the_output_where_the_standard_error_is_closed(shell, tmp_path):
    with (tmp_path / "out").open("wb") as out:
        exit_code, _ = shell("rooms", "--target", "", redirected="2>&-", stdout=out)
    assert (exit_code, (tmp_path / "out").read_bytes()) == (2, b"")


@pytest.mark.parametrize("arguments", [("rooms",), ("rooms", "--help")])
def test_an_encoding_that_cannot_show_the_answer_is_named(shell, arguments):
    exit_code, says = shell(*arguments, encoding="latin-1", stdout=subprocess.DEVNULL)
    assert exit_code == 1
    assert told(says, arguments).startswith("cannot write the output: latin-1 has no '\\u")
