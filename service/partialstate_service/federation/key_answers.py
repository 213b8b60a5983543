"""What answers about keys are worth: a notary's signature, several answers about one server, agreement. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.list_splitter import MalformedBodyError, OversizedBodyError
from partialstate_service.federation.state_stream import ElementSplitter
from partialstate_service.matrix.canonical_json import InvalidJsonError, parse_json
from partialstate_service.matrix.ed25519 import KeyId
from partialstate_service.matrix.keys import MAX_KEYS, InvalidKeysError, ServerKeys, parse_server_keys
from partialstate_service.matrix.signing import verify_json_signature

# One server's published keys; each of them may have to be tried on a signature.
MAX_KEYS_BODY_BYTES = 64 * 1024
# Of one notary: each may have to be tried on each signature.
_MAX_NOTARY_KEYS = 8


def keys_of_body(body: bytes, server: ServerName) -> ServerKeys:
    """Return the keys in a server's own answer; `InvalidKeysError` unless it is about *server* and self-signed."""
    try:
        return parse_server_keys(parse_json(body, strict=False), server)
    except InvalidJsonError as error:
        raise InvalidKeysError("not JSON") from error


def keys_of_notary_body(
    body: bytes, notary: ServerKeys, asked: Collection[ServerName], *, now_ms: int
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
        keys = _countersigned(element, notary, asked, now_ms)
        if keys is not None:
            found.setdefault(keys.server_name, []).append(keys)
    return {server: merged(answers) for server, answers in found.items()}


def merged(answers: Iterable[ServerKeys]) -> ServerKeys:
    """Return one account of a server from several (at least one): the newest, and older keys until they ended.

    A key that only an older answer lists as current was good until that answer's `valid_until_ts`, which is what
    an old key with that expiry says.
    """
    newest, *older = sorted(answers, key=lambda keys: keys.valid_until_ts, reverse=True)
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
    if len(old) > MAX_KEYS:
        # A server may publish other keys each time it is asked: those that were good last are the likelier ones.
        latest = sorted(old.items(), key=lambda item: item[1][1], reverse=True)
        old = dict(latest[:MAX_KEYS])
    return replace(newest, old_verify_keys=old)


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


def _countersigned(
    element: bytes, notary: ServerKeys, asked: Collection[ServerName], now_ms: int
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
        return parse_server_keys(answer, ServerName(server))
    except (InvalidJsonError, InvalidKeysError):
        return None
