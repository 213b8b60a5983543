"""What answers about keys are worth: a notary's signature, several answers about one server, agreement. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import inf
from types import MappingProxyType
from typing import Any

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.list_splitter import MalformedBodyError, OversizedBodyError
from partialstate_service.federation.state_stream import ElementSplitter
from partialstate_service.matrix.canonical_json import InvalidJsonError, parse_json
from partialstate_service.matrix.ed25519 import KeyId
from partialstate_service.matrix.keys import InvalidKeysError, ServerKeys, parse_server_keys
from partialstate_service.matrix.signing import verify_json_signature

# One server's published keys; each of them may have to be tried on a signature.
MAX_KEYS_BODY_BYTES = 64 * 1024
MAX_KEPT_KEYS = 64
"""Keys of one server, current and old, that are kept: most have one and a few old ones, but may publish hundreds."""
MAX_KEY_ID_CHARS = 128
# Of one notary: each may have to be tried on each signature.
_MAX_NOTARY_KEYS = 8


def keys_of_body(body: bytes, server: ServerName, key_ids: Collection[KeyId] = ()) -> ServerKeys:
    """Return the keys in a server's own answer; `InvalidKeysError` unless it is about *server* and self-signed.

    As in all that is returned here, at most `MAX_KEPT_KEYS` are left of them, those of *key_ids* first.
    """
    try:
        return _parsed(parse_json(body, strict=False), server, key_ids)
    except InvalidJsonError as error:
        raise InvalidKeysError("not JSON") from error


def keys_of_notary_body(
    body: bytes,
    notary: ServerKeys,
    asked: Collection[ServerName],
    *,
    now_ms: int,
    key_ids: Mapping[ServerName, Collection[KeyId]] = MappingProxyType({}),
) -> dict[ServerName, ServerKeys]:
    """Return the keys in a notary's answer that its own valid key and the server's have signed.

    Whatever else is in the answer is passed over: servers not asked for, wrong signatures, malformed elements. An
    answer that is no answer at all gives nothing.
    """
    splitter = ElementSplitter(
        ["server_keys"], max_element_bytes=MAX_KEYS_BODY_BYTES, max_elements=10 * len(asked)
    )
    try:
        elements = [element.body for element in (*splitter.feed(body), *splitter.finish())]
    except (MalformedBodyError, OversizedBodyError):
        return {}
    found: dict[ServerName, list[ServerKeys]] = {}
    for element in elements:
        keys = _countersigned(element, notary, asked, now_ms, key_ids)
        if keys is not None:
            found.setdefault(keys.server_name, []).append(keys)
    return {server: merged(answers, key_ids.get(server, ())) for server, answers in found.items()}


def merged(answers: Iterable[ServerKeys], key_ids: Collection[KeyId] = ()) -> ServerKeys:
    """Return one account of a server from several (at least one): the newest, and older keys until they ended.

    The newest is the one that is valid for longest.
    """
    newest, *older = sorted(answers, key=lambda keys: keys.valid_until_ts, reverse=True)
    return succeeded(newest, older, key_ids)


def succeeded(newest: ServerKeys, older: Iterable[ServerKeys], key_ids: Collection[KeyId] = ()) -> ServerKeys:
    """Return what *newest* says, and the keys that it no longer has until they ended.

    A key that only an older answer lists as current was good until that answer's `valid_until_ts`, which is what
    an old key with that expiry says.
    """
    old: dict[KeyId, tuple[bytes, int]] = {}
    for keys in older:
        ended = {key_id: (public, keys.valid_until_ts) for key_id, public in keys.verify_keys.items()}
        for key_id, (public, expired_ts) in {**keys.old_verify_keys, **ended}.items():
            known = old.get(key_id)
            if known is None or (known[0] == public and known[1] < expired_ts):
                old[key_id] = (public, expired_ts)
    old |= newest.old_verify_keys
    for key_id in newest.verify_keys:
        old.pop(key_id, None)
    # A server may publish other keys each time it is asked.
    return _cut(newest if old == newest.old_verify_keys else replace(newest, old_verify_keys=old), key_ids)


def narrowed(keys: ServerKeys, key_ids: Collection[KeyId]) -> ServerKeys:
    """Return only those of *keys* that signatures name."""
    if keys.key_count <= len(key_ids):
        return keys
    return _only(keys, key_ids)


def agreed(accounts: Sequence[ServerKeys], needed: int) -> ServerKeys | None:
    """Return what at least *needed* of *accounts* (of one server, each by another witness) and most of them say, or None.

    Anyone can make and self-sign keys in another's name, so one room server's word is nothing, and that of several is
    nothing against as many who know the server and know no such key. A key is taken to be good for as long as *needed*
    of them say.
    """
    ends: dict[tuple[KeyId, bytes], list[int]] = {}
    current: Counter[tuple[KeyId, bytes]] = Counter()
    for keys in accounts:
        listed = {(key_id, public): ended for key_id, (public, ended) in keys.old_verify_keys.items()}
        now = dict.fromkeys(keys.verify_keys.items(), keys.valid_until_ts)
        current.update(now.keys())
        for item, end in {**listed, **now}.items():
            ends.setdefault(item, []).append(end)
    # Of the ends, the latest that so many witnesses reach.
    until = {
        item: sorted(said, reverse=True)[needed - 1]
        for item, said in ends.items()
        if len(said) >= needed and len(said) * 2 > len(accounts)
    }
    if not until:
        return None
    verify_keys = {item: end for item, end in until.items() if current[item] >= needed}
    return ServerKeys(
        accounts[0].server_name,
        min(verify_keys.values(), default=max(until.values())),
        dict(verify_keys.keys()),
        {
            key_id: (public, end)
            for (key_id, public), end in until.items()
            if (key_id, public) not in verify_keys
        },
    )


def contradicts(keys: ServerKeys, known: ServerKeys) -> bool:
    """Return whether *keys* have other bytes than *known* for the same key id."""
    bytes_known = {key_id: public for key_id, (public, _) in known.old_verify_keys.items()} | {
        **known.verify_keys
    }
    claimed = {key_id: public for key_id, (public, _) in keys.old_verify_keys.items()} | {**keys.verify_keys}
    return any(bytes_known.get(key_id, public) != public for key_id, public in claimed.items())


def suffices(keys: ServerKeys | None, valid_until_ts: int, key_ids: Collection[KeyId]) -> bool:
    """Return whether *keys* are valid for long enough and have every key asked for."""
    return (
        keys is not None
        and keys.valid_until_ts >= valid_until_ts
        and all(key_id in keys.verify_keys or key_id in keys.old_verify_keys for key_id in key_ids)
    )


def notary_query(
    servers: Iterable[ServerName],
    wanted: Mapping[ServerName, int],
    key_ids: Mapping[ServerName, Collection[KeyId]],
) -> dict[str, object]:
    """Return the body of `POST /_matrix/key/v2/query` for *servers*."""
    return {
        "server_keys": {
            server: {
                key_id: {"minimum_valid_until_ts": wanted[server]}
                for key_id in sorted(key_ids.get(server, ()))
            }
            for server in servers
        }
    }


def _parsed(answer: dict[str, Any], server: ServerName, key_ids: Collection[KeyId]) -> ServerKeys:
    current = answer.get("verify_keys") if isinstance(answer, dict) else None
    if isinstance(current, dict) and len(current) > MAX_KEPT_KEYS:
        # Each may have to be tried on the signatures, so they are not merely cut.
        raise InvalidKeysError(f"more than {MAX_KEPT_KEYS} current keys")
    return _cut(parse_server_keys(answer, server), key_ids)


def _cut(keys: ServerKeys, key_ids: Collection[KeyId]) -> ServerKeys:
    """Return at most `MAX_KEPT_KEYS` of *keys*: of *key_ids* first, then current ones, then what was good last."""
    ends: dict[KeyId, float] = {key_id: ended for key_id, (_, ended) in keys.old_verify_keys.items()}
    ends |= dict.fromkeys(keys.verify_keys, inf)
    allowed = [key_id for key_id in ends if len(key_id) <= MAX_KEY_ID_CHARS]
    if len(allowed) == keys.key_count <= MAX_KEPT_KEYS:
        return keys
    first = frozenset(key_ids)
    allowed.sort(key=lambda key_id: (key_id in first, ends[key_id]), reverse=True)
    return _only(keys, frozenset(allowed[:MAX_KEPT_KEYS]))


def _only(keys: ServerKeys, key_ids: Collection[KeyId]) -> ServerKeys:
    return replace(
        keys,
        verify_keys={key_id: key for key_id, key in keys.verify_keys.items() if key_id in key_ids},
        old_verify_keys={key_id: old for key_id, old in keys.old_verify_keys.items() if key_id in key_ids},
    )


def _countersigned(
    element: bytes,
    notary: ServerKeys,
    asked: Collection[ServerName],
    now_ms: int,
    key_ids: Mapping[ServerName, Collection[KeyId]],
) -> ServerKeys | None:
    try:
        answer = parse_json(element, strict=False)
        server = answer.get("server_name")
        if not isinstance(server, str) or server not in asked or notary.valid_until_ts < now_ms:
            return None
        if not any(
            verify_json_signature(answer, notary.server_name, key_id, public)
            for key_id, public in islice(notary.verify_keys.items(), _MAX_NOTARY_KEYS)
        ):
            return None
        return _parsed(answer, ServerName(server), key_ids.get(ServerName(server), ()))
    except (InvalidJsonError, InvalidKeysError):
        return None
