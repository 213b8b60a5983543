"""The errors that simulated servers answer with."""

from typing import Any

from aiohttp import web


class FederationRefusedError(Exception):
    """A request gets an error; carries the finished response."""

    def __init__(self, status: int, errcode: str, text: str, more: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.errcode = errcode
        self._more = more or {}

    def response(self) -> web.Response:
        """Return the error as the server-server API has it."""
        return matrix_error(self.status, self.errcode, str(self), **self._more)


def matrix_error(status: int, errcode: str, text: str, **more: Any) -> web.Response:
    """Return an error response of the server-server API."""
    return web.json_response({"errcode": errcode, "error": text, **more}, status=status)
