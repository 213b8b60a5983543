"""Whose keys some events may need: a first look at their JSON, before anything of it is verified. Pure.

Which servers must have signed is decided with the verdict on an event; keys that turn out not to be needed do no harm.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import orjson

from partialstate_service.domain.ids import InvalidIdError, ServerName, parse_server_name
from partialstate_service.matrix.keys import KeyId
from partialstate_service.matrix.signatures import MAX_SIGNATURES_PER_SERVER

_MAX_TIMESTAMP = 2**53 - 1


class WantedKeys:
    """The servers that may have had to sign the events noted so far, and the keys that the signatures name."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}
        self._key_ids: dict[str, set[KeyId]] = {}

    @classmethod
    def of(cls, bodies: Iterable[bytes]) -> "WantedKeys":
        """Return what the events *bodies* may need; what is no JSON object needs nothing, as its verdict will say."""
        wanted = cls()
        for body in bodies:
            try:
                fields = orjson.loads(body)
            except orjson.JSONDecodeError:
                continue
            if isinstance(fields, dict):
                wanted.note(fields)
        return wanted

    def note(self, fields: Mapping[str, Any]) -> None:
        """Note an event by its fields, which may have any form."""
        sent_at = fields.get("origin_server_ts")
        timestamp = min(sent_at, _MAX_TIMESTAMP) if type(sent_at) is int else 0
        content = fields.get("content")
        vouching = content.get("join_authorised_via_users_server") if isinstance(content, dict) else None
        for identifier in (fields.get("sender"), vouching, fields.get("event_id")):
            if isinstance(identifier, str):
                server = identifier.partition(":")[2]
                self._latest[server] = max(self._latest.get(server, 0), timestamp)
        signatures = fields.get("signatures")
        for server, by_key in signatures.items() if isinstance(signatures, dict) else ():
            if isinstance(by_key, dict):
                key_ids = self._key_ids.setdefault(server, set())
                key_ids.update(
                    KeyId(each) for each in islice(by_key, MAX_SIGNATURES_PER_SERVER) if each.isascii()
                )

    def servers(self) -> dict[ServerName, int]:
        """Return the servers with the latest time (milliseconds since 1970) at which their keys should be valid."""
        return {server: at for name, at in self._latest.items() if (server := _server(name)) is not None}

    def key_ids(self, servers: Iterable[ServerName]) -> dict[ServerName, set[KeyId]]:
        """Return the keys of *servers* that signatures name."""
        return {server: self._key_ids[server] for server in servers if server in self._key_ids}


def _server(name: str) -> ServerName | None:
    try:
        return parse_server_name(name)
    except InvalidIdError:
        return None
