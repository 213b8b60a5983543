"""Who events of a partial room are sent to."""

from partialstate_service.domain.destinations import destinations
from partialstate_service.domain.ids import ServerName

A, B, C, US = (ServerName(f"{name}.example") for name in ("a", "b", "c", "us"))


def test_servers_at_the_join_and_those_seen_joining_since() -> None:
    """Both are sent to, each once, in order, never ourselves."""
    assert destinations(at_join=[B, US, A], joined_since=[C, B, US], us=US) == (A, B, C)


def test_nobody_else() -> None:
    """A room with nobody else has no destinations."""
    assert destinations(at_join=[US], joined_since=[], us=US) == ()
