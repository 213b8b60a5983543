"""Content hashes, reference hashes and event ids, with the vectors of the specification."""

import base64
import hashlib

import pytest
from partialstate_service.matrix.hashes import content_hash, event_id_of, reference_hash
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, room_version
from support.spec_vectors import EVENTS, MINIMAL_EVENT
from unpaddedbase64 import encode_base64

HASHED_ID_VERSIONS = [version for version in ROOM_VERSIONS.values() if version.version not in {"1", "2"}]


@pytest.mark.parametrize(("raw", "expected", "_signature"), EVENTS)
@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=str)
def test_the_content_hashes_of_the_specification(raw, expected, _signature, version):
    """The content hash is the same in every version."""
    assert encode_base64(content_hash(raw, version)) == expected


@pytest.mark.parametrize("key", ["unsigned", "signatures", "hashes"])
def test_the_content_hash_leaves_out(key):
    """Only what the specification names."""
    version = room_version("11")
    assert content_hash(MINIMAL_EVENT | {key: {"x": {}}}, version) == content_hash(MINIMAL_EVENT, version)


@pytest.mark.parametrize("key", ["age_ts", "outlier", "destinations", "org.example.custom", "event_id"])
def test_the_content_hash_covers(key):
    """Any other top-level key, known or not."""
    version = room_version("11")
    assert content_hash(MINIMAL_EVENT | {key: 1}, version) != content_hash(MINIMAL_EVENT, version)


def _by_hand(canonical: bytes) -> bytes:
    return hashlib.sha256(canonical).digest()


def test_the_reference_hash_covers_the_redacted_event_with_its_hashes():
    """Signatures and `unsigned` are left out; `hashes` stay; `origin` only before version 11."""
    raw = MINIMAL_EVENT | {
        "content": {"body": "b"},
        "hashes": {"sha256": "h"},
        "signatures": {"d": {"k": "s"}},
    }
    head = b'{"auth_events":[],"content":{},"depth":3,"hashes":{"sha256":"h"},'
    tail = (
        b'"origin_server_ts":1000000,"prev_events":[],"room_id":"!x:domain","sender":"@a:domain","type":"X"}'
    )
    assert reference_hash(raw, room_version("10")) == _by_hand(head + b'"origin":"domain",' + tail)
    assert reference_hash(raw, room_version("11")) == _by_hand(head + tail)


@pytest.mark.parametrize("version", HASHED_ID_VERSIONS, ids=str)
def test_event_ids_are_reference_hashes(version):
    """In standard base64 in version 3, URL-safe from version 4; never padded."""
    for depth in range(50):
        raw = MINIMAL_EVENT | {"depth": depth}
        encode = base64.b64encode if version.version == "3" else base64.urlsafe_b64encode
        assert event_id_of(raw, version) == "$" + encode(reference_hash(raw, version)).decode().rstrip("=")


@pytest.mark.parametrize("version", HASHED_ID_VERSIONS, ids=str)
def test_an_added_event_id_changes_nothing(version):
    """From version 3 the id is computed, whatever a sender says."""
    assert event_id_of(MINIMAL_EVENT | {"event_id": "$liar"}, version) == event_id_of(MINIMAL_EVENT, version)


@pytest.mark.parametrize("version", ["1", "2"])
def test_event_ids_of_the_first_versions_are_given_and_covered(version):
    """There the id is part of what is hashed and signed."""
    first, second = ({**MINIMAL_EVENT, "event_id": f"${n}:domain"} for n in range(2))
    assert event_id_of(first, room_version(version)) == "$0:domain"
    assert reference_hash(first, room_version(version)) != reference_hash(second, room_version(version))
