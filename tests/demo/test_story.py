"""The demo tells the truth: it succeeds when all is well, and says so in JSON."""

import json
import subprocess
import sys


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "partialstate_service.demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_demo_succeeds_and_accounts_for_every_decision() -> None:
    ended = demo("--json", "--members", "300", "--servers", "20")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    summary = json.loads(ended.stdout)
    assert summary["ok"] is True
    assert summary["state_is_exact"] is True
    got = {(asked["phase"], asked["request"], asked["by"]): asked["got"] for asked in summary["asked"]}
    unable = "403 ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE"
    member, denied = "a server in the room", "a server that the ACL denies"
    assert got["partial", "state_ids at our join", member] == unable
    assert got["partial", "event_auth of an event that we sent", member] == "200"
    assert got["partial", "make_join", member] == "404 M_NOT_FOUND"
    assert got["partial", "state_ids at our join", denied] == "403 M_FORBIDDEN"
    assert got["full", "state_ids at the event that we sent", member] == "200"
    figures = {figure["name"]: figure["value"] for figure in summary["figures"]}
    assert figures["imported_events"] >= 300
    assert "unable" in summary["outcomes"].values()


def test_a_wrong_argument_is_a_usage_error() -> None:
    assert demo("--members", "many").returncode == 2
