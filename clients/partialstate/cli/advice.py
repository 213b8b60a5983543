"""What a person can do about an error."""

from partialstate import errors
from partialstate.errors import ErrorReason, PartialStateError

_LIST_AGAIN = {
    "watch": "begin anew without --after",
    "reconcile": "list the homeserver's rooms anew, with a new --token or none",
    "check": "ask without --at-least-as-fresh, or with a state_token of now",
}


def advice(error: PartialStateError, target: str, command: str) -> str:
    """Return one line: what went wrong in *command*, and what to do."""
    if isinstance(error, errors.UnavailableError) and error.reason is ErrorReason.UNKNOWN:
        return (
            f"cannot reach the service at {target}: does it run there? (--target, --ca-file) {error.message}"
        )
    message = error.message
    if isinstance(error, errors.ListAgainError):  # the service cannot know for which command it says that
        message = message.removesuffix(": list again")
    remedy = _remedy(error, command)
    return f"{message.rstrip('.')}: {remedy}" if remedy else message


def _remedy(error: PartialStateError, command: str) -> str:  # noqa: C901, PLR0911 - one line per error
    match error:
        case errors.NotReconciledError():
            return "tell it the rooms that the homeserver holds as partial (`partialstate reconcile`)"
        case errors.NoAnswerError():
            return "try again, or allow more time (--timeout); repeating is safe"
        case errors.UnauthenticatedError() if error.reason is ErrorReason.PERMISSION_DENIED:
            return "give a token or a certificate with that role (the service's token file)"
        case errors.UnauthenticatedError():
            return "give the service's token (--token-file) or a client certificate (--cert-file, --key-file)"
        case errors.RoomNotPartialError():
            return "`partialstate rooms` lists the rooms that are"
        case errors.StaleGenerationError():
            return f"its generation is {error.current}"
        case errors.ImportIncompleteError() if error.pending_events:
            return f"{error.pending_events} events still lack their state (`partialstate room --follow`)"
        case errors.ImportIncompleteError():
            return f"import up to {error.log_position} (`partialstate state --after`) and confirm that"
        case errors.PositionOutOfRangeError():
            return f"the log ends at {error.log_position}"
        case errors.ListAgainError():
            return _LIST_AGAIN.get(command, "repeat the command")
        case errors.ServiceDefectError() if request_id := error.facts.get("request_id"):
            return f"the service's log has more under {request_id}"
        case _:
            return ""
