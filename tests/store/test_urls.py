"""The store's URL, in every topology; and what its servers must be like in each."""

import pytest
from partialstate_service.store.settings import StoreSettings
from partialstate_service.store.suitability import lag_problem, problems
from partialstate_service.store.topologies import slot_of
from partialstate_service.store.urls import Address, Login, Topology, UnsuitableStoreError, parse_store_url

SOUND = {"redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": "1"}


@pytest.mark.parametrize(
    ("text", "topology", "addresses", "login", "service"),
    [
        ("redis://store.example", "single", [("store.example", 6379)], Login(), ""),
        ("redis://u:p%40w@store.example:1/3", "single", [("store.example", 1)], Login("u", "p@w", 3), ""),
        ("redis://:pw@[::1]:6380?db=2", "single", [("::1", 6380)], Login("", "pw", 2), ""),
        ("unix:///run/my%20store.sock", "single", [("/run/my store.sock", 0)], Login(), ""),
        ("redis+sentinel://a,b:1/main/4", "sentinel", [("a", 26379), ("b", 1)], Login(db=4), "main"),
        ("redis://u@a:65535?password=p@w", "single", [("a", 65535)], Login("u", "p@w"), ""),
        ("unix://u:p@/run/a@b.sock", "single", [("/run/a@b.sock", 0)], Login("u", "p"), ""),
        ("redis+cluster://a,b:1", "cluster", [("a", 6379), ("b", 1)], Login(), ""),
        ("redis+cluster://a?username=u&password=p", "cluster", [("a", 6379)], Login("u", "p"), ""),
    ],
)
def test_a_url_is_read(text, topology, addresses, login, service):
    url = parse_store_url(text)
    assert url.topology is Topology(topology)
    assert url.addresses == tuple(Address(*address) for address in addresses)
    assert (url.login, url.service, url.tls) == (login, service, None)


def test_tls_is_asked_for_by_the_scheme():
    url = parse_store_url("rediss+sentinel://a/main?ssl_check_hostname=false")
    assert url.tls is not None
    assert not url.tls.check_hostname


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://secret@a", "must begin with"),
        ("user:secret@a", "must begin with"),
        ("secret://a", "must begin with"),
        ("redis://:x@secret@a", "percent-encode"),
        ("redis+sentinel://:x@secret@a,b/main", "percent-encode"),
        ("redis://user:1/secret@a", "percent-encode"),
        ("redis+sentinel://user:1/secret@a", "percent-encode"),
        ("redis://user:1?secret@a", "percent-encode"),
        ("redis://user:1?secret=x@a", "percent-encode"),
        ("unix://:x/secret@/run/store.sock", "absolute path: unix:///PATH"),
        ("unix://:x@secret@/run/store.sock", "percent-encode"),
        ("unix://run/store.sock", "absolute path: unix:///PATH"),
        ("unix://", "absolute path: unix:///PATH"),
        ("unix:///", "absolute path: unix:///PATH"),
        ("redis://a:0", "a port from 1 to 65535"),
        ("redis://a:65536", "a port from 1 to 65535"),
        ("redis://a:secret", "a port from 1 to 65535"),
        ("redis+cluster://a,b:99999", "a port from 1 to 65535"),
        ("redis://a b", "must name HOST"),
        ("redis://a/" + "1" * 5000, "no database"),
        ("redis://a?ssl_ca_certs=/ca.pem", "ssl_ca_certs in the store's URL mean TLS.*rediss"),
        ("unix:///run/a?ssl_check_hostname=true", "ssl_check_hostname in the store's URL mean TLS"),
        ("rediss://a?ssl_check_hostname=no", "ssl_check_hostname in the store's URL must be true or false"),
        ("rediss://a?ssl_check_hostname=", "must be true or false"),
        ("rediss://a?ssl_ca_certs=", "are paths"),
        ("rediss://a?ssl_keyfile=/key.pem", "only with ssl_certfile"),
        ("rediss://a?ssl_ca_certs=%00", "cannot be read"),
        ("redis://a,b", "redis\\+sentinel"),
        ("redis+sentinel://a", "must name the service"),
        ("redis+cluster://a?db=1", "no database"),
        ("redis://a/1/2", "no database"),
        ("redis://a?timeout=5", "unknown parameters: timeout"),
        ("redis://", "must name HOST"),
        ("rediss://a?ssl_ca_certs=/absent", "cannot be read"),
    ],
)
def test_what_is_no_url_is_refused_without_showing_secrets(text, told):
    with pytest.raises(UnsuitableStoreError, match=told) as refusal:
        parse_store_url(text)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("key", ["123456789", "a{123456789}b", "{123456789}{x}"])
def test_slots_are_those_of_the_specification(key):
    assert slot_of(key) == 0x31C3  # the check value of CRC-16/XMODEM


def test_empty_braces_name_no_slot():
    assert slot_of("{}a") != slot_of("{}b")


class TestProblems:
    settings = StoreSettings(data_dir="unused")

    def test_a_sound_server_has_none(self):
        assert problems(SOUND, Topology.SINGLE, self.settings) == []
        assert problems(SOUND | {"min_slaves_good_slaves": "1"}, Topology.CLUSTER, self.settings) == []

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"redis_version": "6.2.1"}, "Redis 7.0"),
            ({"role": "slave"}, "is a replica"),
            ({"maxmemory_policy": "allkeys-lru"}, "noeviction"),
            ({"aof_enabled": "0"}, "appendonly yes"),
            ({"redis_mode": "cluster"}, "redis+cluster"),
        ],
    )
    def test_each_problem_is_told_with_what_to_change(self, changed, told):
        [problem] = problems(SOUND | changed, Topology.SINGLE, self.settings)
        assert told in problem

    @pytest.mark.parametrize("topology", [Topology.SENTINEL, Topology.CLUSTER])
    def test_a_primary_that_could_be_replaced_unnoticed(self, topology):
        [problem] = problems(SOUND, topology, self.settings)
        assert "min-replicas-to-write 1" in problem

    @pytest.mark.parametrize(
        ("max_lag", "takeover_ms", "is_problem"),
        [
            ("10", 15_000, False),
            ("10", 12_000, False),
            ("10", 11_999, True),
            ("10", 5_000, True),
            (None, 1, False),
            ("1", None, False),
        ],
    )
    def test_a_cut_off_primary_must_stop_before_another_is_chosen(self, max_lag, takeover_ms, is_problem):
        assert (lag_problem(max_lag, takeover_ms) is not None) == is_problem
