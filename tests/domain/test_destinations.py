"""Who events of a partial room are sent to."""

from partialstate_service.domain.destinations import destinations
from partialstate_service.domain.ids import ServerName

A, B, C, US = (ServerName(f"{name}.example") for name in ("a", "b", "c", "us"))


def test_every_server_once_and_never_ourselves() -> None:
    """The room's servers are sent to, each once, in order."""
    assert destinations([B, US, A, C, B], us=US) == (A, B, C)


def test_nobody_else() -> None:
    """A room with nobody else has no destinations."""
    assert destinations([US], us=US) == ()
