"""What a request to a remote server came to, as data. Pure.

The words follow what the resync does next (MSC3895; "Recommended contract for a requester" in the documentation):
a server that is UNABLE is healthy, one that answers TIMEOUT is asked again because its response cache is warm,
UNAUTHORISED, SERVER_ERROR, RATE_LIMITED, TIMEOUT and UNREACHABLE concern the destination as a whole.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from partialstate_service.domain.ids import ServerName

# Both spellings of MSC3895; the status is not part of the proposal, so none is required.
UNABLE_ERRCODES = frozenset(
    {"M_UNABLE_DUE_TO_PARTIAL_STATE", "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE"}
)
# A day: what a server may make us wait, however large the number it sends.
MAX_RETRY_AFTER_S = 86_400.0
MAX_TEXT_CHARS = 200

_OK_STATUS = 200
_NOT_FOUND_STATUS = 404


class Outcome(StrEnum):
    """What became of one request."""

    OK = "ok"
    UNABLE = "unable"
    """The server says that its own state of the room is partial (either spelling of MSC3895)."""
    FORBIDDEN = "forbidden"
    """Not allowed; soon after a join this usually means that the server has not heard of it yet."""
    NOT_FOUND = "not_found"
    """The server has no such event or room, perhaps not yet."""
    UNSUPPORTED = "unsupported"
    """The server does not know the endpoint or the method."""
    UNAUTHORISED = "unauthorised"
    """The server did not accept our signature."""
    RATE_LIMITED = "rate_limited"
    BAD_REQUEST = "bad_request"
    """Any other 4xx."""
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    """No complete answer in time, or too little of it for too long."""
    UNREACHABLE = "unreachable"
    """No address, a refused address, no connection, a certificate for another name, or a connection that broke."""
    INVALID = "invalid"
    """An answer that is not what the specification says."""
    TOO_LARGE = "too_large"
    """An answer, or one element of it, beyond our limits."""
    UNSIGNED = "unsigned"
    """Nothing was sent: whoever holds our signing key did not sign. Says nothing about the server."""


_BY_STATUS = {
    401: Outcome.UNAUTHORISED,
    403: Outcome.FORBIDDEN,
    404: Outcome.NOT_FOUND,
    405: Outcome.UNSUPPORTED,
    # Request timeout, gateway timeout, and Cloudflare's own: the homeserver behind was too slow.
    408: Outcome.TIMEOUT,
    504: Outcome.TIMEOUT,
    524: Outcome.TIMEOUT,
    429: Outcome.RATE_LIMITED,
    501: Outcome.UNSUPPORTED,
}
_BY_CLASS = {4: Outcome.BAD_REQUEST, 5: Outcome.SERVER_ERROR}


class FederationError(Exception):
    """A request to *server* failed; `text` is short and escaped, fit for a log line.

    `retry_after_s` is what the server asked for, at most `MAX_RETRY_AFTER_S`; None where it said nothing.
    """

    def __init__(
        self, outcome: Outcome, server: ServerName, retry_after_s: float | None = None, text: str = ""
    ) -> None:
        super().__init__(f"{server}: {outcome.value}: {text}")
        self.outcome = outcome
        self.server = server
        self.retry_after_s = retry_after_s
        self.text = text


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request before it is said whose."""

    outcome: Outcome
    text: str
    retry_after_s: float | None = None

    def of(self, server: ServerName) -> FederationError:
        """Return this failure as the error to raise for *server*."""
        return FederationError(self.outcome, server, self.retry_after_s, self.text)


def classify_response(
    status: int, headers: Mapping[str, str], body: bytes, *, now_s: float
) -> Failure | None:
    """Return the failure that an answer stands for, or None for a 200.

    *headers* has lower-case names or is case-insensitive; *body* may be cut short; *now_s* (Unix time) is what
    a Retry-After date is compared with.
    """
    if status == _OK_STATUS:
        return None
    error = _error_object(body)
    errcode = error.get("errcode")
    text = f"HTTP {status} {escaped(errcode)}" if isinstance(errcode, str) else f"HTTP {status}"
    if isinstance(message := error.get("error"), str) and message:
        text = f"{text}: {escaped(message)}"
    outcome = _outcome_of(status, errcode if isinstance(errcode, str) else "")
    return Failure(
        outcome, text, _retry_after_s(headers.get("retry-after"), error.get("retry_after_ms"), now_s)
    )


def escaped(text: str) -> str:
    """Return a peer's *text* as short printable ASCII."""
    shown = text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + "…"
    return ascii(shown)[1:-1]


def _outcome_of(status: int, errcode: str) -> Outcome:
    if errcode in UNABLE_ERRCODES:
        return Outcome.UNABLE
    if status == _NOT_FOUND_STATUS and errcode == "M_UNRECOGNIZED":
        return Outcome.UNSUPPORTED
    # Redirects are for well-known only, and nothing else below 400 answers a federation request.
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, Outcome.INVALID)


def _error_object(body: bytes) -> Mapping[str, Any]:
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {}


def _retry_after_s(header: str | None, milliseconds: object, now_s: float) -> float | None:
    """Return the wait asked for: the Retry-After header (seconds or a date) before the older `retry_after_ms`."""
    if header is not None and (seconds := _header_seconds(header.strip(), now_s)) is not None:
        return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
    if isinstance(milliseconds, int) and not isinstance(milliseconds, bool):
        return min(max(milliseconds, 0), MAX_RETRY_AFTER_S * 1000) / 1000
    return None


def _header_seconds(header: str, now_s: float) -> float | None:
    if header.isascii() and header.isdigit():
        # Long enough for any honest number; Python refuses to parse thousands of digits.
        return float(int(header)) if len(header) <= 10 else MAX_RETRY_AFTER_S  # noqa: PLR2004
    try:
        date = parsedate_to_datetime(header)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
