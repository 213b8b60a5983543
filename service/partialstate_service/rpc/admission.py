"""Admission of calls: who calls, whether it may, and whether it has too many calls already."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from partialstate_service.rpc.grpc_types import Context
from partialstate_service.rpc.known_clients import KnownClients
from partialstate_service.rpc.roles import ROLES_BY_METHOD, Client
from partialstate_service.rpc.status import PermissionDeniedError, TooManyCallsError, UnauthenticatedError

_BEARER = "Bearer "
_CERTIFICATE_NAMES = ("x509_common_name", "x509_subject_alternative_name")


class Admission:
    """Admits calls one by one; what is admitted must be told to have ended."""

    def __init__(self, clients: Callable[[], KnownClients] | None, max_calls_per_client: int) -> None:
        """*clients* returns those that are known now; None admits everybody to everything.

        A client without a name is counted by the name in its certificate, else by the host that it calls from.
        """
        self._clients = clients
        self._max_calls = max_calls_per_client
        self._calls: dict[str, int] = {}

    def enter(self, method: str, context: Context) -> str:
        """Admit a call; return what to give to `leave`.

        Raises `UnauthenticatedError`, `PermissionDeniedError` and `TooManyCallsError`.
        """
        if self._clients is None:
            name = next(_certificate_names(context), None) or _host(context)
        else:
            client = _recognised(self._clients(), context)
            if not client.may_call(method):
                raise PermissionDeniedError(client.name, ROLES_BY_METHOD[method])
            name = client.name
        calls = self._calls.get(name, 0)
        if calls >= self._max_calls:
            raise TooManyCallsError(self._max_calls)
        self._calls[name] = calls + 1
        return name

    def leave(self, name: str) -> None:
        """Count a call as ended."""
        if (calls := self._calls.pop(name) - 1) > 0:
            self._calls[name] = calls


def _recognised(clients: KnownClients, context: Context) -> Client:
    metadata: Mapping[Any, Any] = dict(context.invocation_metadata() or ())
    given = metadata.get("authorization")
    if given is None:
        client = clients.with_certificate(_certificate_names(context)) if clients.by_certificate else None
    elif isinstance(given, str) and given.startswith(_BEARER):
        # A wrong token is not made good by a certificate.
        client = clients.with_token(given.removeprefix(_BEARER))
    else:
        client = None
    if client is None:
        raise UnauthenticatedError
    return client


def _certificate_names(context: Context) -> Iterator[str]:
    """Yield the names in the client's certificate, which an authority of ours has signed; none without one."""
    found: Mapping[str, Any] = context.auth_context()
    for kind in _CERTIFICATE_NAMES:
        for name in found.get(kind, ()):
            yield name.decode(errors="replace")


def _host(context: Context) -> str:
    peer: str = context.peer()
    return peer.rpartition(":")[0]
