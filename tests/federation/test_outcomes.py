"""What a response is taken for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.federation.outcomes import MAX_RETRY_AFTER_S, Outcome, classify_response

NOW_S = 1_700_000_000.0


@pytest.mark.parametrize(
    ("status", "errcode", "outcome"),
    [
        (403, "M_UNABLE_DUE_TO_PARTIAL_STATE", Outcome.UNABLE),
        (403, "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE", Outcome.UNABLE),
        (404, "M_UNABLE_DUE_TO_PARTIAL_STATE", Outcome.UNABLE),
        (400, "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE", Outcome.UNABLE),
        (503, "M_UNABLE_DUE_TO_PARTIAL_STATE", Outcome.UNABLE),
        (403, "M_FORBIDDEN", Outcome.FORBIDDEN),
        (403, "", Outcome.FORBIDDEN),
        (404, "M_NOT_FOUND", Outcome.NOT_FOUND),
        (404, "", Outcome.NOT_FOUND),
        (404, "M_UNRECOGNIZED", Outcome.UNSUPPORTED),
        (405, "M_UNRECOGNIZED", Outcome.UNSUPPORTED),
        (501, "", Outcome.UNSUPPORTED),
        (401, "M_UNAUTHORIZED", Outcome.UNAUTHORISED),
        (429, "M_LIMIT_EXCEEDED", Outcome.RATE_LIMITED),
        (400, "M_INVALID_PARAM", Outcome.BAD_REQUEST),
        (413, "", Outcome.BAD_REQUEST),
        (500, "M_UNKNOWN", Outcome.SERVER_ERROR),
        (502, "", Outcome.SERVER_ERROR),
        (503, "", Outcome.SERVER_ERROR),
        (408, "", Outcome.TIMEOUT),
        (504, "", Outcome.TIMEOUT),
        (524, "", Outcome.TIMEOUT),
        (204, "", Outcome.INVALID),
        (302, "", Outcome.INVALID),
        (999, "", Outcome.INVALID),
    ],
)
def test_status_and_errcode_make_the_outcome(status: int, errcode: str, outcome: Outcome) -> None:
    """The errcode of MSC3895 counts with any status, since the proposal names none."""
    failure = classify_response(status, {}, b'{"errcode": "%s"}' % errcode.encode(), now_s=NOW_S)
    assert failure is not None
    assert failure.outcome is outcome


def test_200_is_no_failure() -> None:
    """Whatever the body says."""
    assert classify_response(200, {}, b'{"errcode": "M_FORBIDDEN"}', now_s=NOW_S) is None


@pytest.mark.parametrize(
    ("header", "body", "expected_s"),
    [
        ("30", b"{}", 30.0),
        ("0", b"{}", 0.0),
        ("99999999", b"{}", MAX_RETRY_AFTER_S),
        ("9" * 5000, b"{}", MAX_RETRY_AFTER_S),
        ("-5", b"{}", None),
        ("soon", b"{}", None),
        ("\u0663", b"{}", None),
        ("Tue, 14 Nov 2023 22:13:50 GMT", b"{}", 30.0),
        ("Tue, 14 Nov 2023 22:13:50", b"{}", 30.0),
        ("Tue, 14 Nov 2022 22:13:50 GMT", b"{}", 0.0),
        (None, b'{"retry_after_ms": 1500}', 1.5),
        ("30", b'{"retry_after_ms": 1500}', 30.0),
        (None, b'{"retry_after_ms": -1}', 0.0),
        (None, b'{"retry_after_ms": true}', None),
        (None, b'{"retry_after_ms": "1"}', None),
        (None, b'{"retry_after_ms": 1' + b"0" * 50 + b"}", MAX_RETRY_AFTER_S),
        (None, b"[]", None),
    ],
)
def test_retry_after(header: str | None, body: bytes, expected_s: float | None) -> None:
    """The header's seconds or date before the body's milliseconds; never negative, a day at most."""
    headers = {} if header is None else {"retry-after": header}
    failure = classify_response(429, headers, body, now_s=NOW_S)
    assert failure is not None
    assert failure.retry_after_s == expected_s


@given(
    status=st.integers(100, 999).filter(lambda status: status != 200),
    body=st.binary(max_size=60) | st.text(max_size=300).map(lambda text: f'{{"error": "{text}"}}'.encode()),
    retry_after=st.text(max_size=40),
)
def test_any_answer_is_survived(status: int, body: bytes, retry_after: str) -> None:
    """The text is short printable ASCII, and the wait within bounds."""
    failure = classify_response(status, {"retry-after": retry_after}, body, now_s=NOW_S)
    assert failure is not None
    assert failure.text.isascii()
    assert failure.text.isprintable()
    assert len(failure.text) < 5000
    assert failure.retry_after_s is None or 0 <= failure.retry_after_s <= MAX_RETRY_AFTER_S


def test_a_hostile_nesting_is_survived() -> None:
    """Deeper than any parser goes."""
    failure = classify_response(403, {}, b"[" * 16_000, now_s=NOW_S)
    assert failure is not None
    assert failure.outcome is Outcome.FORBIDDEN
