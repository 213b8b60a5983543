"""Whether concurrent calls can be put in an order in which a simple model gives each the answer that it got.

The search of Wing and Gong with Lowe's memory: of the calls that nothing forces behind another one, each is tried next. A
call whose answer was lost may have happened at any time after it began, or never.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

NEVER = float("inf")


@dataclass(frozen=True)
class Call:
    """One call of a history. Times are those of one clock; *ended* is NEVER, and *answer* None, if the answer was lost."""

    name: str
    arguments: tuple[Any, ...]
    begun: float
    ended: float = NEVER
    answer: tuple[Any, ...] | None = None


class Model(Protocol):
    """What the calls are made on. Its `repr` tells its states apart."""

    def apply(self, call: Call) -> bool:
        """Do what *call* does, and return whether it could have been answered so; True if its answer was lost."""


class NotLinearizableError(AssertionError):
    """Somebody was told what no order of the calls explains."""


def linearize(calls: Sequence[Call], model: Model) -> None:
    """Return if there is such an order, or raise NotLinearizableError with the furthest that any order came."""
    calls = sorted(calls, key=lambda call: call.begun)
    answered = {i for i, call in enumerate(calls) if call.ended != NEVER}
    tried: set[tuple[frozenset[int], str]] = set()
    waiting = [(frozenset[int](), deepcopy(model))]
    furthest: tuple[int, frozenset[int], Model] = (-1, frozenset(), model)
    while waiting:
        done, state = waiting.pop()
        done, state = _settled(calls, done, state)
        if answered <= done:
            return
        key = (done, repr(state))
        if key in tried:
            continue
        tried.add(key)
        if len(done & answered) > furthest[0]:
            furthest = (len(done & answered), done, state)
        # Those that ended first are tried first: the last of a stack. Lost ones may have happened, or not.
        for i in sorted(_next(calls, done), key=lambda i: calls[i].ended, reverse=True):
            after = deepcopy(state)
            if after.apply(calls[i]) and repr(after) != key[1]:
                waiting.append((done | {i}, after))
    _, done, state = furthest
    stuck = "\n".join(f"  {calls[i]}" for i in _next(calls, done))
    raise NotLinearizableError(
        f"after {len(done)} of {len(calls)} calls:\n{state}\nnone of these fits:\n{stuck}"
    )


def _settled(calls: Sequence[Call], done: frozenset[int], state: Model) -> tuple[frozenset[int], Model]:
    """Do all that could come next and changes nothing: where else it might stand makes no difference to the others."""
    before = repr(state)
    while True:
        for i in _next(calls, done):
            if calls[i].ended != NEVER:
                after = deepcopy(state)
                if after.apply(calls[i]) and repr(after) == before:
                    done |= {i}
                    break
        else:
            return done, state


def _next(calls: Sequence[Call], done: frozenset[int]) -> list[int]:
    """Return the calls that began before any other that is left ended."""
    left = [i for i in range(len(calls)) if i not in done]
    first_end = min((calls[i].ended for i in left), default=NEVER)
    return [i for i in left if calls[i].begun < first_end or calls[i].ended == first_end]
