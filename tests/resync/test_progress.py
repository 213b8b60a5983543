"""What the account of a resync says, and for how long."""

import pytest
from partialstate_service.domain.ids import ServerName
from partialstate_service.domain.rooms import Progress, ResyncStage
from partialstate_service.resync.cooldown import CooldownPolicy
from partialstate_service.resync.progress import ProgressBoard
from partialstate_service.resync.sources import Sources

FRESH = Progress()


def board_of(progress: Progress = FRESH) -> ProgressBoard:
    sources = Sources(
        own_name=ServerName("us.example"),
        joined_via=None,
        servers=(),
        records=(),
        registered_at_ms=0,
        policy=CooldownPolicy(),
        now_ms=lambda: 0,
        jitter=lambda: 0.5,
    )
    return ProgressBoard(progress, sources)


def test_a_failure_stands_until_the_next_success():
    board = board_of()
    board.failed("nobody answered", 7)
    again = board_of(board.current())
    assert (again.current().last_failure, again.current().next_attempt_ms) == ("nobody answered", None)
    again.found("1 of 2 servers tell another state")
    again.succeeded()
    assert again.current().last_failure == ""
    assert again.current().stage is ResyncStage.DONE
    assert again.current().findings == ("1 of 2 servers tell another state",)


def test_the_latest_findings_are_kept_each_once_and_cut():
    board = board_of()
    for number in (*range(12), 11):
        board.found(f"{number} " + "x" * 1000)
    board.found("")
    findings = board.current().findings
    assert [finding.split()[0] for finding in findings] == [str(number) for number in range(2, 12)]
    assert {len(finding) for finding in findings} == {300}


@pytest.mark.parametrize(
    ("fetches", "misses", "since_ms"), [(True, False, None), (True, True, 5), (False, False, 5)]
)
def test_patience_begins_anew_once_a_state_was_verified_that_lacks_no_key(fetches, misses, since_ms):
    board = board_of(Progress(keys_missing_since_ms=5))
    if misses:
        assert board.keys_missing(9) == 5
    if fetches:
        board.verified_state()
    board.succeeded()
    assert board.current().keys_missing_since_ms == since_ms
    assert board.keys_missing(9) == (since_ms or 9)


def test_what_another_server_told_before_is_not_what_is_expected():
    board = board_of()
    board.expect(1_000_000)
    board.expect(50)
    assert board.current().events_expected == 50
