"""Published keys and signing key files."""

import pytest
from partialstate_service.matrix.ed25519 import (
    InvalidSigningKeyError,
    signing_key_from_seed,
    signing_key_text,
)
from partialstate_service.matrix.keys import (
    MAX_KEY_LIFE_MS,
    MAX_KEYS,
    InvalidKeysError,
    ServerKeys,
    parse_server_keys,
    parse_signing_key,
)
from partialstate_service.matrix.signing import sign_json
from support.spec_vectors import KEY
from unpaddedbase64 import encode_base64

SERVER = "a.example"
OTHER = signing_key_from_seed("other", bytes(range(32)))


def _published(**changes):
    response = {
        "server_name": SERVER,
        "valid_until_ts": 2000,
        "verify_keys": {KEY.key_id: {"key": encode_base64(KEY.public)}},
        "old_verify_keys": {"ed25519:old": {"key": encode_base64(OTHER.public), "expired_ts": 1000}},
    }
    return {name: value for name, value in (response | changes).items() if value is not None}


def test_keys_signed_by_themselves():
    """Current keys, old ones with their end, and how long all this is valid."""
    assert parse_server_keys(sign_json(_published(), SERVER, KEY), SERVER) == ServerKeys(
        SERVER, 2000, {KEY.key_id: KEY.public}, {"ed25519:old": (OTHER.public, 1000)}
    )


def test_old_keys_may_be_absent():
    """Servers that never changed their key send none."""
    assert (
        parse_server_keys(sign_json(_published(old_verify_keys=None), SERVER, KEY), SERVER).old_verify_keys
        == {}
    )


def test_one_valid_signature_by_a_current_key_is_enough():
    """Whatever else signed, or failed to."""
    published = _published(
        verify_keys={
            OTHER.key_id: {"key": encode_base64(OTHER.public)},
            KEY.key_id: {"key": encode_base64(KEY.public)},
        }
    )
    signed = sign_json(published, SERVER, KEY)
    signed["signatures"][SERVER][OTHER.key_id] = "AAAA"
    signed["signatures"]["notary.example"] = {"ed25519:1": "AAAA"}
    assert set(parse_server_keys(signed, SERVER).verify_keys) == {KEY.key_id, OTHER.key_id}


@pytest.mark.parametrize(
    "response",
    [
        _published(),
        sign_json(_published(), SERVER, OTHER),
        sign_json(_published(), "b.example", KEY),
        sign_json(_published(server_name="b.example"), SERVER, KEY),
        sign_json(_published(server_name=None), SERVER, KEY),
        sign_json(_published(valid_until_ts=None), SERVER, KEY),
        sign_json(_published(valid_until_ts="2000"), SERVER, KEY),
        sign_json(_published(valid_until_ts=True), SERVER, KEY),
        sign_json(_published(valid_until_ts=-1), SERVER, KEY),
        sign_json(_published(verify_keys={}), SERVER, KEY),
        sign_json(_published(verify_keys=[]), SERVER, KEY),
        sign_json(_published(old_verify_keys="x"), SERVER, KEY),
        sign_json(
            _published(
                verify_keys={},
                old_verify_keys={KEY.key_id: {"key": encode_base64(KEY.public), "expired_ts": 1}},
            ),
            SERVER,
            KEY,
        ),
        sign_json(_published(old_verify_keys={f"ed25519:{n}": {} for n in range(MAX_KEYS + 1)}), SERVER, KEY),
        sign_json(_published(), SERVER, KEY) | {"valid_until_ts": 9999},
        sign_json(_published(), SERVER, KEY) | {"signatures": []},
        sign_json(_published(), SERVER, KEY) | {"signatures": {SERVER: []}},
        sign_json(_published(), SERVER, KEY) | {"signatures": {SERVER: {KEY.key_id: 1}}},
        sign_json(_published(), SERVER, KEY) | {"signatures": {SERVER: {KEY.key_id: "A"}}},
        sign_json(_published(), SERVER, KEY) | {"signatures": {SERVER: {KEY.key_id: "é"}}},
        [],
        None,
        "keys",
    ],
)
def test_keys_that_are_refused(response):
    """Malformed, of another server, or not signed by a current key of their own."""
    with pytest.raises(InvalidKeysError):
        parse_server_keys(response, SERVER)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        [],
        {"key": 1},
        {"key": "A"},
        {"key": "é"},
        {"key": encode_base64(b"short")},
        # ELEMENTSEC-2025-1670
        {"key": "l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og="},
    ],
)
def test_a_bad_key_among_good_ones_is_left_out(entry):
    """It is as if the server did not have it."""
    published = _published(
        verify_keys={KEY.key_id: {"key": encode_base64(KEY.public)}, "ed25519:bad": entry},
        old_verify_keys={"ed25519:bad": {**entry, "expired_ts": 1} if isinstance(entry, dict) else entry},
    )
    keys = parse_server_keys(sign_json(published, SERVER, KEY), SERVER)
    assert set(keys.verify_keys) == {KEY.key_id}
    assert keys.old_verify_keys == {}


def test_other_algorithms_are_left_out():
    """Only ed25519 exists."""
    published = _published(
        verify_keys={
            KEY.key_id: {"key": encode_base64(KEY.public)},
            "rsa:1": {"key": encode_base64(OTHER.public)},
        }
    )
    assert set(parse_server_keys(sign_json(published, SERVER, KEY), SERVER).verify_keys) == {KEY.key_id}


def test_an_old_key_without_an_end_is_left_out():
    """Nobody could say which events it may have signed."""
    published = _published(old_verify_keys={"ed25519:old": {"key": encode_base64(OTHER.public)}})
    assert parse_server_keys(sign_json(published, SERVER, KEY), SERVER).old_verify_keys == {}


def test_validity_is_capped_at_seven_days_from_fetching():
    """Shorter validity stays as it is."""
    keys = ServerKeys(SERVER, 10 * MAX_KEY_LIFE_MS, {}, {})
    assert keys.capped(1000).valid_until_ts == 1000 + MAX_KEY_LIFE_MS
    assert ServerKeys(SERVER, 5000, {}, {}).capped(1000).valid_until_ts == 5000


def test_a_signing_key_file():
    """The form that Synapse writes; blank lines and further keys do not matter."""
    seed = encode_base64(bytes(32))
    key = parse_signing_key(f"\ned25519 a_Bc1 {seed}\r\ned25519 second {encode_base64(bytes(range(32)))}\n")
    assert key.key_id == "ed25519:a_Bc1"
    assert key == signing_key_from_seed("a_Bc1", bytes(32))
    assert parse_signing_key(f"ed25519 a_Bc1 {seed}=") == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "ed25519 a_1",
        "rsa a_1 AAAA",
        "ed25519 a:1 " + encode_base64(bytes(32)),
        "ed25519 a_1 SECRETS",
        "ed25519 a_1 SECRETé",
        "ed25519 a_1 " + encode_base64(bytes(31)),
        "ed25519 a_1 " + encode_base64(bytes(32)) + " more",
    ],
)
def test_signing_key_files_that_are_refused(text):
    """With an error that has nothing of the key in it."""
    with pytest.raises(InvalidSigningKeyError) as caught:
        parse_signing_key(text)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_signing_key_file_reads_as_it_was_written():
    key = signing_key_from_seed("a_1b2c", bytes(range(32)))
    assert parse_signing_key(signing_key_text(key)) == key


def test_no_secret_in_the_representation():
    """A key that is logged by mistake gives nothing away."""
    seed = bytes(KEY.nacl_key)
    assert str(seed) not in repr(KEY)
    assert encode_base64(seed) not in repr(KEY)
    assert repr(KEY) == "SigningKey(key_id='ed25519:1')"
