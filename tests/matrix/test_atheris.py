"""A coverage-guided fuzzer finds no bytes that parsing does not survive, for a bounded time."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from support.signed_events import signed_event

LONG_SECONDS = 300
TESTS = Path(__file__).parents[1]


@pytest.mark.timeout(LONG_SECONDS + 120)
@pytest.mark.parametrize("seconds", [20, pytest.param(LONG_SECONDS, marks=pytest.mark.long)])
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for every Python"
)
def test_a_fuzzer_finds_no_crash(tmp_path, seconds):
    """It starts from good events of every room version, and is free from there."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, version in enumerate(ROOM_VERSIONS.values()):
        good = signed_event(
            version, type="m.room.member", state_key="@a:domain", content={"membership": "join"}
        )
        (corpus / f"event-{version}").write_bytes(bytes([number]) + json.dumps(good).encode())
    fuzzer = [sys.executable, "-m", "support.fuzz_target", str(corpus), f"-artifact_prefix={tmp_path}/"]
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]
    finished = subprocess.run(
        [*fuzzer, *limits], cwd=TESTS, capture_output=True, timeout=seconds + 60, check=False, text=True
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
