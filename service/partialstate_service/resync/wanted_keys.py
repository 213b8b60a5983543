"""Whose keys some events may need: a first look at their JSON, before anything of it is verified. Pure.

Which servers must have signed is decided with the verdict on an event; keys that turn out not to be needed do no harm.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import orjson

from partialstate_service.domain.ids import InvalidIdError, ServerName, parse_server_name
from partialstate_service.federation.key_answers import MAX_KEPT_KEYS, MAX_KEY_ID_CHARS
from partialstate_service.matrix.keys import KeyId
from partialstate_service.matrix.signatures import MAX_SIGNATURES_PER_SERVER

_MAX_TIMESTAMP = 2**53 - 1


class WantedKeys:
    """The servers that may have had to sign the events noted so far, and the keys that the signatures name."""

    def __init__(self, *, ids_have_servers: bool = False) -> None:
        """*ids_have_servers*: in versions 1 and 2 the server in an event's id must have signed too."""
        self._ids_have_servers = ids_have_servers
        self._latest: dict[str, int] = {}
        self._key_ids: dict[str, set[KeyId]] = {}

    @classmethod
    def of(cls, bodies: Iterable[bytes], *, ids_have_servers: bool = False) -> "WantedKeys":
        """Return what the events *bodies* may need; what is no JSON object needs nothing, as its verdict will say."""
        wanted = cls(ids_have_servers=ids_have_servers)
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
        signatures = fields.get("signatures")
        if not isinstance(signatures, dict):
            signatures = {}
        self._note_signer_in(fields.get("sender"), timestamp, signatures)
        content = fields.get("content")
        if isinstance(content, dict) and "join_authorised_via_users_server" in content:
            self._note_signer_in(content["join_authorised_via_users_server"], timestamp, signatures)
        if self._ids_have_servers:
            self._note_signer_in(fields.get("event_id"), timestamp, signatures)

    def _note_signer_in(self, identifier: object, timestamp: int, signatures: Mapping[str, Any]) -> None:
        if isinstance(identifier, str):
            server = identifier.partition(":")[2]
            # A server that must have signed and has not needs no key: no key can mend that.
            if isinstance(by_key := signatures.get(server), dict) and by_key:
                if timestamp >= self._latest.get(server, 0):
                    self._latest[server] = timestamp
                self._note_keys(server, by_key)

    def _note_keys(self, server: str, by_key: Mapping[str, Any]) -> None:
        key_ids = self._key_ids.get(server)
        if key_ids is None:
            key_ids = self._key_ids[server] = set()
        for key_id in islice(by_key, MAX_SIGNATURES_PER_SERVER):
            if len(key_id) <= MAX_KEY_ID_CHARS and len(key_ids) < MAX_KEPT_KEYS and key_id.isascii():
                key_ids.add(KeyId(key_id))

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
