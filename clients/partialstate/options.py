"""How a client connects, how long it waits, and what it repeats."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to the service, with a client certificate where it asks for one (mTLS). All of it PEM."""

    ca_certificates: bytes | None = None
    """Whom to trust; None: the system's authorities."""
    certificate_chain: bytes | None = None
    """The client's certificate; goes with `private_key`."""
    private_key: bytes | None = None
    server_name: str | None = None
    """The name in the service's certificate, where it is not the target's."""

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("a client certificate needs both certificate_chain and private_key")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long calls may take, repetitions included. Seconds. Streams of answers have none."""

    check_s: float = 0.25
    """`check`, `batch_check` and each check of `stream_check`: a request of another homeserver waits for it."""
    read_s: float = 5.0
    """Reads of the registry, and each page of a list."""
    write_s: float = 10.0
    """Writes of one message: they are on disk when they are answered."""
    upload_s: float = 120.0
    """`register_partial_join` and `reconcile_rooms`, which carry many megabytes."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a call that got no answer (UNAVAILABLE) is repeated: within its deadline, after a random delay.

    Every call is idempotent, so each may be repeated; no other failure is.
    """

    first_delay_s: float = 0.02
    """The mean delay before the first repetition; it doubles with each."""
    max_delay_s: float = 2.0
    resume_for_s: float = 300.0
    """How long a stream that yields nothing is taken up again before its error is raised."""
    random: Callable[[], float] = random.random
    """Chance, from 0 to 1."""

    def delay_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row, from half to one and a half times the mean."""
        mean = min(self.first_delay_s * 2.0 ** min(failures - 1, 30), self.max_delay_s)
        return mean * (0.5 + self.random())


NO_RETRIES = RetryPolicy(resume_for_s=0.0, max_delay_s=float("inf"), first_delay_s=float("inf"))
"""Nothing is repeated: every failure is raised at once."""
