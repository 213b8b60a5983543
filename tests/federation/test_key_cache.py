"""What is remembered of keys is bounded, whatever servers publish."""

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.key_cache import KeyCache
from partialstate_service.matrix.ed25519 import KeyId
from partialstate_service.matrix.keys import MAX_KEYS, ServerKeys


def published(server: str, valid_until_ts: int, *key_ids: str) -> ServerKeys:
    return ServerKeys(ServerName(server), valid_until_ts, dict.fromkeys(map(KeyId, key_ids), bytes(32)), {})


def test_a_server_with_other_keys_each_time_has_the_latest_remembered():
    cache = KeyCache(now_s=lambda: 0.0, max_servers=10)
    for time in range(2 * MAX_KEYS):
        keys = cache.put(published("one.example", time, f"ed25519:{time}"))
    assert keys.key_count == MAX_KEYS + 1
    assert KeyId(f"ed25519:{2 * MAX_KEYS - 2}") in keys.old_verify_keys
    assert KeyId("ed25519:0") not in keys.old_verify_keys


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
