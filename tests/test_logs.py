"""What gets into the log, and in which form."""

import json
import os
import subprocess
import sys

import pytest
from partialstate_service.logs import escape

HOSTILE = "x\n2026-01-01 [info] forged\x1b[2J\x9b\u202e\x07\udc80"
PROGRAM = f"""
import logging, structlog
from partialstate_service.logs import set_up_logs
set_up_logs("debug")
logging.getLogger("httpx").info("HTTP Request: GET https://b.example/")
structlog.get_logger().info("ours", said={HOSTILE!a})
logging.getLogger("another").warning("theirs %s", {HOSTILE!a})
try:
    raise ValueError({HOSTILE!a})
except ValueError:
    structlog.get_logger().exception("failed")
"""


def log_of(stderr: int) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=stderr, timeout=60, check=True)


def test_every_entry_is_one_line_of_json():
    read, write = os.pipe()
    with os.fdopen(read, "rb") as log:
        log_of(write)
        os.close(write)
        lines = log.read().decode("ascii").splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["event"].split(" ")[0] for entry in entries] == ["ours", "theirs", "failed"]
    assert entries[0]["said"] == HOSTILE


@pytest.mark.skipif(sys.platform == "win32", reason="there are terminals elsewhere only")
def test_a_terminal_is_not_controlled_by_what_others_sent():
    terminal, end = os.openpty()
    try:
        log_of(end)
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
        os.close(end)
    assert "HTTP Request" not in shown
    assert not [control for control in ("\x1b[2J", "\x9b", "\u202e", "\x07") if control in shown]
    assert shown.count("forged") == 3
    assert not [line for line in shown.splitlines() if line.startswith("2026-01-01")]


@pytest.mark.parametrize(
    ("given", "kept"), [("plain é 日本", "plain é 日本"), ("a\nb", r"a\nb"), ("\x1b", r"\x1b"), (7, 7)]
)
def test_only_control_is_escaped(given, kept):
    assert escape(None, "info", {"said": given})["said"] == kept
