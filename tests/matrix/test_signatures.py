"""Signing, and who must have signed what, with the vectors of the specification."""

import pytest
from partialstate_service.matrix.ed25519 import signing_key_from_seed, verify_signature
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.parsing import parse_event
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, room_version
from partialstate_service.matrix.signatures import (
    MAX_SIGNATURES_PER_SERVER,
    SignatureOutcome,
    SignatureVerdict,
    required_signers,
    verify_event,
)
from partialstate_service.matrix.signing import sign_event, sign_json, verify_json_signature
from support.signed_events import TS, server_keys, signed_event, unsigned_event
from support.spec_vectors import EVENTS, JSON_SIGNATURES, KEY, SERVER

ALL = pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=str)
OTHER = signing_key_from_seed("other", bytes(range(32)))
VALID = SignatureVerdict(SignatureOutcome.VALID)
INVALID = SignatureVerdict(SignatureOutcome.INVALID, (SERVER,))
UNKNOWN = SignatureVerdict(SignatureOutcome.KEY_UNKNOWN, (SERVER,))


@pytest.mark.parametrize(("obj", "signature"), JSON_SIGNATURES)
def test_the_json_signatures_of_the_specification(obj, signature):
    """Made, and verified."""
    signed = sign_json(obj, SERVER, KEY)
    assert signed == obj | {"signatures": {SERVER: {"ed25519:1": signature}}}
    assert verify_json_signature(signed, SERVER, KEY.key_id, KEY.public)


@pytest.mark.parametrize(("raw", "sha256", "signature"), EVENTS)
def test_the_event_signatures_of_the_specification(raw, sha256, signature):
    """With the content hash that they cover."""
    signed = sign_event(raw, room_version("1"), SERVER, KEY)
    assert signed == raw | {"hashes": {"sha256": sha256}, "signatures": {SERVER: {"ed25519:1": signature}}}


def test_signing_adds_to_the_signatures_and_does_not_cover_unsigned():
    """Two servers, and two keys of one server."""
    once = sign_json({"a": 1, "unsigned": {"b": 2}}, SERVER, KEY)
    twice = sign_json(sign_json(once, SERVER, OTHER), "other.example", OTHER) | {"unsigned": {"b": 3}}
    assert verify_json_signature(twice, SERVER, KEY.key_id, KEY.public)
    assert verify_json_signature(twice, SERVER, OTHER.key_id, OTHER.public)
    assert verify_json_signature(twice, "other.example", OTHER.key_id, OTHER.public)
    assert not verify_json_signature(twice | {"a": 2}, SERVER, KEY.key_id, KEY.public)
    assert not verify_json_signature(twice, "other.example", KEY.key_id, KEY.public)
    assert once == sign_json({"a": 1, "unsigned": {"b": 2}}, SERVER, KEY)


@pytest.mark.parametrize(
    ("signature", "public"),
    [(b"", KEY.public), (bytes(64), KEY.public), (bytes(64), b""), (bytes(65), KEY.public)],
)
def test_signatures_and_keys_of_any_length(signature, public):
    """Are no valid signatures."""
    assert not verify_signature(b"message", signature, public)


@ALL
def test_a_signed_event(version):
    """By its sender's server."""
    event = parse_event(signed_event(version), version)
    assert required_signers(event) == (SERVER,)
    assert verify_event(event, server_keys()) == VALID
    assert verify_event(event, server_keys()).is_valid


@ALL
def test_an_event_with_a_wrong_hash_is_still_signed(version):
    """The signature covers the redacted event."""
    event = parse_event(signed_event(version) | {"content": {"body": "forged"}}, version)
    assert not event.hash_matches
    assert verify_event(event, server_keys()) == VALID


@ALL
@pytest.mark.parametrize("change", [{"depth": 6}, {"sender": "@b:domain"}, {"hashes": {"sha256": "abcd"}}])
def test_a_change_of_what_is_signed(version, change):
    """Is noticed."""
    assert verify_event(parse_event(signed_event(version) | change, version), server_keys()) == INVALID


@ALL
@pytest.mark.parametrize(
    "signatures",
    [
        {},
        {"other.example": {"ed25519:1": "AAAA"}},
        {SERVER: {}},
        {SERVER: {"ed25519:1": "AAAA"}},
        {SERVER: {"ed25519:1": None}},
        {SERVER: {"ed25519:1": "é"}},
        {SERVER: {"rsa:1": "AAAA"}},
        {SERVER: {"ed25519:policy_server": "AAAA"}},
    ],
)
def test_no_signature_that_any_key_could_prove(version, signatures):
    """Is invalid, not unknown. A policy server's signature does not say who sent the event."""
    event = parse_event(signed_event(version) | {"signatures": signatures}, version)
    assert verify_event(event, server_keys()) == INVALID


@ALL
def test_without_the_servers_keys(version):
    """The server is named, so that its keys can be fetched."""
    assert verify_event(parse_event(signed_event(version), version), {}) == UNKNOWN
    event = parse_event(signed_event(version), version)
    assert verify_event(event, server_keys(verify_keys={OTHER.key_id: OTHER.public})) == UNKNOWN


@ALL
def test_one_valid_signature_is_enough(version):
    """Unknown and wrong ones beside it do not matter."""
    raw = signed_event(version)
    signatures = {"ed25519:unknown": "AAAA", OTHER.key_id: "AAAA", **raw["signatures"][SERVER]}
    event = parse_event(raw | {"signatures": {SERVER: signatures}}, version)
    keys = server_keys(verify_keys={KEY.key_id: KEY.public, OTHER.key_id: OTHER.public})
    assert verify_event(event, keys) == VALID


@ALL
def test_a_wrong_signature_beside_an_unknown_one(version):
    """The unknown one may still prove it."""
    signatures = {"ed25519:unknown": "AAAA", KEY.key_id: "AAAA"}
    event = parse_event(signed_event(version) | {"signatures": {SERVER: signatures}}, version)
    assert verify_event(event, server_keys()) == UNKNOWN


def test_a_flood_of_signatures_is_not_verified():
    """Each would cost a verification."""
    version = room_version("11")
    raw = signed_event(version)
    flood = {f"ed25519:flood{n}": "AAAA" for n in range(MAX_SIGNATURES_PER_SERVER)}
    event = parse_event(raw | {"signatures": {SERVER: flood | raw["signatures"][SERVER]}}, version)
    keys = server_keys(verify_keys={KEY.key_id: KEY.public} | dict.fromkeys(flood, KEY.public))
    assert verify_event(event, keys) == INVALID


@ALL
def test_the_validity_of_current_keys(version):
    """From version 5 a key must have been valid when the event was sent; newer keys may say that it was."""
    event = parse_event(signed_event(version), version)
    assert verify_event(event, server_keys(valid_until_ts=TS)) == VALID
    late = verify_event(event, server_keys(valid_until_ts=TS - 1))
    assert late == (UNKNOWN if version.enforce_key_validity else VALID)


@ALL
def test_the_validity_of_old_keys(version):
    """They prove what was sent until they expired, and nothing later."""
    event = parse_event(signed_event(version), version)
    in_time = server_keys(verify_keys={}, old_verify_keys={KEY.key_id: (KEY.public, TS)}, valid_until_ts=0)
    assert verify_event(event, in_time) == VALID
    late = server_keys(verify_keys={}, old_verify_keys={KEY.key_id: (KEY.public, TS - 1)})
    assert verify_event(event, late) == (INVALID if version.enforce_key_validity else VALID)


def _member(version, membership, content=None, **fields):
    return unsigned_event(
        version,
        type="m.room.member",
        state_key="@b:b.example",
        content={"membership": membership, **(content or {})},
        **fields,
    )


def _signed_by(raw, version, *servers):
    for server in servers:
        raw = sign_event(raw, version, server, KEY)
    return parse_event(raw, version)


def _keys_of(*servers):
    return {server: ServerKeys(server, TS, {KEY.key_id: KEY.public}, {}) for server in servers}


@ALL
def test_a_third_party_invite_needs_no_signature_of_the_senders_server(version):
    """Another server may have issued it; in versions 1 and 2 that of the event id signs."""
    raw = _member(version, "invite", {"third_party_invite": {"signed": {}}})
    event = _signed_by(raw, version, "identity.example")
    given = version.version in {"1", "2"}
    assert required_signers(event) == ((SERVER,) if given else ())
    assert verify_event(event, {}).is_valid != given


@ALL
@pytest.mark.parametrize("membership", ["join", "leave", "ban", "knock"])
def test_only_invites_can_be_third_party_invites(version, membership):
    """In any other event the key means nothing."""
    event = _signed_by(_member(version, membership, {"third_party_invite": {}}), version, SERVER)
    assert required_signers(event) == (SERVER,)


@ALL
def test_a_forged_third_party_invite_needs_a_signature(version):
    """An invite that got the key on its way is redacted; only versions from 11 keep it then, as they signed it."""
    signed = sign_event(_member(version, "invite"), version, SERVER, KEY)
    forged = signed | {
        "content": signed["content"] | {"third_party_invite": {"signed": {}}},
        "signatures": {},
    }
    event = parse_event(forged, version)
    assert not event.hash_matches
    if version.updated_redaction_rules:
        assert event.event_id != parse_event(signed, version).event_id
    else:
        assert verify_event(event, server_keys()) == INVALID


@ALL
def test_a_restricted_join_is_signed_by_the_authorising_server_too(version):
    """From version 8."""
    raw = _member(version, "join", {"join_authorised_via_users_server": "@c:c.example"})
    signers = (SERVER, "c.example") if version.restricted_joins else (SERVER,)
    both = _signed_by(raw, version, SERVER, "c.example")
    assert required_signers(both) == signers
    assert verify_event(both, _keys_of(*signers)) == VALID
    assert verify_event(both, {}) == SignatureVerdict(SignatureOutcome.KEY_UNKNOWN, signers)
    one = _signed_by(raw, version, SERVER)
    missing = SignatureVerdict(SignatureOutcome.INVALID, ("c.example",))
    assert verify_event(one, _keys_of(*signers)) == (missing if version.restricted_joins else VALID)
    assert verify_event(one, {}).outcome is (
        SignatureOutcome.INVALID if version.restricted_joins else SignatureOutcome.KEY_UNKNOWN
    )


@ALL
@pytest.mark.parametrize("membership", ["invite", "leave", "ban", "knock"])
def test_only_joins_are_authorised_by_another_server(version, membership):
    """In any other event the key means nothing."""
    raw = _member(version, membership, {"join_authorised_via_users_server": "@c:c.example"})
    assert required_signers(_signed_by(raw, version, SERVER)) == (SERVER,)


@pytest.mark.parametrize("version", [room_version("1"), room_version("2")], ids=str)
def test_the_server_of_a_given_event_id_signs_too(version):
    """In versions 1 and 2; once where it is the sender's."""
    event = _signed_by(unsigned_event(version, event_id="$e:id.example"), version, SERVER, "id.example")
    assert required_signers(event) == (SERVER, "id.example")
    assert verify_event(event, _keys_of(SERVER, "id.example")) == VALID
    alone = _signed_by(unsigned_event(version, event_id="$e:id.example"), version, SERVER)
    assert verify_event(alone, _keys_of(SERVER, "id.example")) == SignatureVerdict(
        SignatureOutcome.INVALID, ("id.example",)
    )


def test_servers_with_ports_and_addresses():
    """The domain of an id is all that follows its first colon."""
    version = room_version("11")
    for server in ("a.example:8448", "[2001:db8::1]:8448", "192.0.2.1"):
        event = _signed_by(unsigned_event(version, sender=f"@a:{server}"), version, server)
        assert required_signers(event) == (server,)
        assert verify_event(event, _keys_of(server)) == VALID
