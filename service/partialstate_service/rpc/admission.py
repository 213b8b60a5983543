"""Admission of calls: who calls, whether it may, and whether it has or makes too many calls already."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from partialstate_service.rpc.call_rates import CallRates
from partialstate_service.rpc.grpc_types import Context
from partialstate_service.rpc.known_clients import KnownClients
from partialstate_service.rpc.roles import ROLES_BY_METHOD, Client
from partialstate_service.rpc.status import (
    CallRateExceededError,
    PermissionDeniedError,
    TooManyCallsError,
    UnauthenticatedError,
)

_BEARER = "Bearer "
_CERTIFICATE_NAMES = ("x509_common_name", "x509_subject_alternative_name")


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many calls there may be."""

    at_a_time: int
    """Of all clients together."""
    at_a_time_per_client: int
    rates: CallRates | None = None
    """How often each client may call; None: as often as it likes."""


class Admission:
    """Admits calls one by one; what is admitted must be told to have ended."""

    def __init__(self, clients: Callable[[], KnownClients] | None, limits: CallLimits) -> None:
        """*clients* returns those that are known now; None admits everybody to everything.

        A client without a name is counted by the name in its certificate, else by the host that it calls from.
        """
        self._clients = clients
        self._limits = limits
        self._calls: dict[str, int] = {}
        self._all_calls = 0

    def enter(self, method: str, context: Context) -> str:
        """Admit a call; return what to give to `leave`.

        Raises `UnauthenticatedError`, `PermissionDeniedError`, `TooManyCallsError` and `CallRateExceededError`.
        """
        name = self._client(method, context)
        limits, present = self._limits, self._calls.get(name, 0)
        if present >= limits.at_a_time_per_client:
            raise TooManyCallsError(limits.at_a_time_per_client, "client")
        if self._all_calls >= limits.at_a_time:
            raise TooManyCallsError(limits.at_a_time, "service")
        if limits.rates is not None and (wait_s := limits.rates.take(name)):
            raise CallRateExceededError(limits.rates.per_second, limits.rates.burst, wait_s)
        self._calls[name] = present + 1
        self._all_calls += 1
        return name

    def leave(self, name: str) -> None:
        """Count a call as ended."""
        self._all_calls -= 1
        if (calls := self._calls.pop(name) - 1) > 0:
            self._calls[name] = calls

    def count(self, name: str, calls: int) -> float:
        """Count *calls* more in a client's rate; return how long the last of them would have to wait for that."""
        return 0.0 if self._limits.rates is None else self._limits.rates.owe(name, calls)

    def objection(self, method: str, context: Context) -> Exception | None:
        """Return why a call that was admitted would not be admitted any more, or None."""
        try:
            self._client(method, context)
        except (UnauthenticatedError, PermissionDeniedError) as error:
            return error
        return None

    def known_clients(self) -> KnownClients | None:
        """Return the clients that are known now; None where everybody is admitted."""
        return None if self._clients is None else self._clients()

    def _client(self, method: str, context: Context) -> str:
        if self._clients is None:
            return next(_certificate_names(context), None) or host_of(context)
        client = _recognised(self._clients(), context)
        if not client.may_call(method):
            raise PermissionDeniedError(client.name, ROLES_BY_METHOD[method])
        return client.name


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


def host_of(context: Context) -> str:
    """Return the host that a call comes from."""
    peer: str = context.peer()
    return peer.rpartition(":")[0]
