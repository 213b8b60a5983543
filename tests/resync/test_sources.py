"""Which server is asked next."""

import pytest
from partialstate_service.domain.ids import ServerName
from partialstate_service.domain.rooms import ServerRecord
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.resync.cooldown import CooldownPolicy
from partialstate_service.resync.sources import MAX_RECORDS, MAX_SERVERS, Sources

US, VIA, A, B = (ServerName(name) for name in ("us.example", "via.example", "a.example", "b.example"))


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock():
    return Clock()


def sources_of(clock, servers=(VIA, A, B), records=(), joined_via=VIA):
    return Sources(
        own_name=US,
        joined_via=joined_via,
        servers=servers,
        records=records,
        registered_at_ms=clock.ms,
        policy=CooldownPolicy(),
        now_ms=clock,
        jitter=lambda: 0.5,
    )


def failure(server, outcome=Outcome.UNABLE, retry_after_s=None):
    return FederationError(outcome, server, retry_after_s, "why")


def test_the_server_that_we_joined_through_comes_first(clock):
    assert sources_of(clock, servers=(A, B)).available()[0] == VIA


def test_we_never_ask_ourselves(clock):
    """synapse#15123: our own name is often in servers_in_room."""
    sources = sources_of(clock, servers=(US, A), joined_via=US)
    sources.add([US])
    assert sources.available() == [A]


def test_a_failed_server_rests_and_comes_back(clock):
    sources = sources_of(clock)
    sources.failed(failure(VIA))
    assert VIA not in sources.available()
    clock.ms += 31_000
    assert sources.available()[-1] == VIA, "but after those that did not fail"


def test_when_all_rest_the_first_that_may_be_asked_again_is_known(clock):
    sources = sources_of(clock, servers=(A,))
    sources.failed(failure(VIA, Outcome.RATE_LIMITED, 100.0))
    sources.failed(failure(A))
    assert sources.available() == []
    assert clock.ms < sources.next_available_ms() < clock.ms + 30_000


def test_after_one_time_out_the_same_server_is_asked_again(clock):
    """synapse#15115: it goes on computing, and its cache answers the second time."""
    sources = sources_of(clock)
    sources.failed(failure(VIA, Outcome.TIMEOUT))
    assert sources.available()[0] == VIA
    sources.failed(failure(VIA, Outcome.TIMEOUT))
    assert VIA not in sources.available()


def test_a_server_that_answered_precedes_those_never_asked(clock):
    sources = sources_of(clock)
    sources.succeeded(B)
    assert sources.available() == [VIA, B, A]


def test_a_success_forgives(clock):
    sources = sources_of(clock)
    sources.failed(failure(A))
    sources.succeeded(A)
    assert A in sources.available()
    assert {record.server: record.failures for record in sources.records()}[A] == 0


def test_what_happened_before_a_restart_counts(clock):
    resting = ServerRecord(VIA, "unable", clock.ms, failures=2, cooldown_until_ms=clock.ms + 1000)
    assert sources_of(clock, records=[resting]).available() == [A, B]


def test_records_are_bounded(clock):
    servers = [ServerName(f"s{n}.example") for n in range(MAX_RECORDS + 50)]
    sources = sources_of(clock, servers=servers)
    for server in servers:
        clock.ms += 1
        sources.failed(failure(server))
    records = sources.records()
    assert len(records) == MAX_RECORDS
    assert records[0].server == servers[-1], "the latest are kept"


def test_without_any_server_there_is_no_next_time(clock):
    assert sources_of(clock, servers=(), joined_via=None).next_available_ms() is None


def test_invented_servers_are_kept_up_to_a_bound_and_never_in_place_of_the_one_we_joined_through(clock):
    invented = [ServerName(f"s{number}.example") for number in range(MAX_SERVERS + 1000)]
    sources = sources_of(clock, servers=invented)
    assert len(sources.available()) == MAX_SERVERS
    assert sources.available(at_most=3) == sources.available()[:3]
    assert sources.available(at_most=1) == [VIA]
    assert invented[-1] in sources.available()
