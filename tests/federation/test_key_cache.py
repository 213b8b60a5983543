"""What is remembered of keys is bounded, whatever servers publish."""

from dataclasses import replace

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.key_answers import MAX_KEPT_KEYS
from partialstate_service.federation.key_cache import KeyCache
from partialstate_service.matrix.ed25519 import KeyId
from partialstate_service.matrix.keys import ServerKeys


def published(server: str, valid_until_ts: int, *key_ids: str) -> ServerKeys:
    return ServerKeys(ServerName(server), valid_until_ts, dict.fromkeys(map(KeyId, key_ids), bytes(32)), {})


def test_a_server_with_other_keys_each_time_has_the_latest_remembered():
    cache = KeyCache(now_s=lambda: 0.0, max_servers=10)
    for time in range(2 * MAX_KEPT_KEYS):
        keys = cache.put(published("one.example", time, f"ed25519:{time}"))
    assert keys.key_count == MAX_KEPT_KEYS
    assert KeyId(f"ed25519:{2 * MAX_KEPT_KEYS - 2}") in keys.old_verify_keys
    assert KeyId("ed25519:0") not in keys.old_verify_keys


def test_the_keys_that_are_needed_stay():
    cache = KeyCache(now_s=lambda: 0.0, max_servers=10)
    needed = [KeyId("ed25519:0")]
    for time in range(2 * MAX_KEPT_KEYS):
        keys = cache.put(published("one.example", time, f"ed25519:{time}"), needed)
    assert needed[0] in keys.old_verify_keys
    assert keys.key_count == MAX_KEPT_KEYS


def test_what_a_server_says_itself_now_revokes_what_it_said_would_be_valid_for_longer():
    cache = KeyCache(now_s=lambda: 0.0, max_servers=10)
    cache.put(published("one.example", 100, "ed25519:revoked"))
    revoking = replace(
        published("one.example", 50, "ed25519:new"),
        old_verify_keys={KeyId("ed25519:revoked"): (bytes(32), 10)},
    )
    keys = cache.put(revoking, is_own_word=True)
    assert keys == cache.get(ServerName("one.example")) == revoking


def test_what_a_notary_says_may_be_older_than_what_is_known():
    cache = KeyCache(now_s=lambda: 0.0, max_servers=10)
    cache.put(published("one.example", 100, "ed25519:new"))
    keys = cache.put(published("one.example", 50, "ed25519:old"))
    assert keys.verify_keys.keys() == {"ed25519:new"}
    assert keys.old_verify_keys == {"ed25519:old": (bytes(32), 50)}


def test_servers_with_many_keys_push_out_those_used_least_recently():
    cache = KeyCache(now_s=lambda: 0.0, max_servers=10, max_keys=10)
    for number in range(4):
        cache.put(published(f"{number}.example", 1, *(f"ed25519:{key}" for key in range(3))))
        cache.get(ServerName("0.example"))
    assert [cache.get(ServerName(f"{number}.example")) is not None for number in range(4)] == [
        True,
        False,
        True,
        True,
    ]
