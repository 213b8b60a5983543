"""The judge: Synapse's own event auth and state resolution behind JSON lines on stdin and stdout.

A script for a Python in which `matrix-synapse` is installed (`make interop-env`); nothing else imports Synapse. Each
line in is a room: {"version", "outliers": [PDU], "events": [PDU, prev events first], "ends": [event id]}. Each line out
is the judgement: {"events": [{"id", "verdict", "why", "merged"}], "state"}: for every event its id as Synapse computes
it, whether Synapse accepts it ("accepted", "rejected", or "refused" where a check raises something else than a
rejection, which amounts to the same), the state before it where it has several prev events, and at last the resolution
of the states after the ends. States are lists of [type, state key, event id].
"""

# mypy: disable-error-code="import-not-found"

import json
import sys
from collections.abc import Coroutine, Iterable
from typing import Any

from synapse import event_auth
from synapse.api.errors import AuthError
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS, StateResolutionVersions
from synapse.events import make_event_from_dict
from synapse.state import v1, v2
from synapse.storage.databases.main.event_federation import StateDifference

# Synapse walks every path of the auth chains of events that it has not stored; beyond this many, the judge tells it
# the auth chain difference, by the definition, instead.
MAX_PATHS = 3_000


class NoClock:
    """A clock on which nothing takes time."""

    async def sleep(self, _duration: object) -> None:
        """Return at once."""


class StoredEvents:
    """What Synapse asks of its database, from memory."""

    def __init__(self, events: dict[str, Any]) -> None:
        self._events = events
        # Rejected events may cite what is not here.
        self._cited = {
            event_id: [auth_id for auth_id in event.auth_event_ids() if auth_id in events]
            for event_id, event in events.items()
        }
        self._chains: dict[str, frozenset[str]] = {}

    async def get_events(
        self,
        event_ids: Iterable[str],
        redact_behaviour: object = None,
        get_prev_content: bool = False,  # noqa: FBT001, FBT002 - Synapse's signature
        allow_rejected: bool = False,  # noqa: FBT001, FBT002 - Synapse's signature
    ) -> dict[str, Any]:
        """Return the events that there are, rejected ones only if asked for."""
        found = {event_id: self._events[event_id] for event_id in event_ids if event_id in self._events}
        return {i: e for i, e in found.items() if allow_rejected or e.rejected_reason is None}

    async def get_auth_chain_difference(
        self, _room_id: str, state_sets: list[set[str]], conflicted: set[str] | None, _additional: object
    ) -> StateDifference:
        """Return what is in the full auth chain of some set and not of all, and the conflicted subgraph."""
        chains = [frozenset().union(*(self._chain(event_id) for event_id in ids)) for ids in state_sets]
        difference = set(frozenset().union(*chains)) - set(chains[0].intersection(*chains[1:]))
        subgraph = None
        if conflicted is not None:
            below = frozenset().union(*(self._chain(event_id) for event_id in conflicted))
            subgraph = {event_id for event_id in below if self._chain(event_id) & conflicted}
        return StateDifference(auth_difference=difference, conflicted_subgraph=subgraph)

    def paths(self) -> int:
        """Return how many paths of auth events there are from all events together."""
        counts: dict[str, int] = {}
        for event_id in self._events:
            self._count_paths(event_id, counts)
        return sum(counts.values())

    def _chain(self, event_id: str) -> frozenset[str]:
        """Return the event and its auth chain."""
        if event_id not in self._chains:
            chains = [self._chain(auth_id) for auth_id in self._cited[event_id]]
            self._chains[event_id] = frozenset([event_id]).union(*chains)
        return self._chains[event_id]

    def _count_paths(self, event_id: str, counts: dict[str, int]) -> int:
        if event_id not in counts:
            counts[event_id] = 1 + sum(self._count_paths(i, counts) for i in self._cited[event_id])
        return counts[event_id]


class Room:
    """One room as Synapse sees it, event by event."""

    def __init__(self, version: str) -> None:
        self._version = KNOWN_ROOM_VERSIONS[version]
        self._events: dict[str, Any] = {}
        self._after: dict[str, dict[tuple[str, str], str]] = {}

    def add_outlier(self, pdu: dict[str, Any]) -> None:
        """Hold an event that is no part of the timeline."""
        event = make_event_from_dict(pdu, self._version)
        self._events[event.event_id] = event

    def judge(self, pdu: dict[str, Any]) -> dict[str, Any]:
        """Judge one event and make it part of the room."""
        event = make_event_from_dict(pdu, self._version)
        prevs = event.prev_event_ids()
        before = self._resolve(event.room_id, prevs)
        verdict, why = self._verdict(event, before)
        if verdict != "accepted":
            event = make_event_from_dict(pdu, self._version, rejected_reason=verdict)
        self._events[event.event_id] = event
        after = before
        if verdict == "accepted" and event.is_state():
            after = {**before, (event.type, event.state_key): event.event_id}
        self._after[event.event_id] = after
        merged = listed(before) if len(prevs) > 1 else None
        return {"id": event.event_id, "verdict": verdict, "why": why, "merged": merged}

    def state_after(self, ends: list[str]) -> dict[tuple[str, str], str]:
        """Return the resolution of the states after *ends*."""
        return self._resolve(self._events[ends[0]].room_id, ends)

    def _verdict(self, event: Any, before: dict[tuple[str, str], str]) -> tuple[str, str]:
        try:
            run(event_auth.check_state_independent_auth_rules(StoredEvents(self._events), event))
            event_auth.check_state_dependent_auth_rules(
                event, [self._events[auth_id] for auth_id in event.auth_event_ids()]
            )
            wanted = event_auth.auth_types_for_event(self._version, event)
            event_auth.check_state_dependent_auth_rules(
                event, [self._events[before[key]] for key in wanted if key in before]
            )
        except AuthError as error:
            return "rejected", str(error)
        except Exception as error:  # noqa: BLE001 - whatever Synapse raises, it does not accept the event
            return "refused", repr(error)
        return "accepted", ""

    def _resolve(self, room_id: str, prevs: Iterable[str]) -> dict[tuple[str, str], str]:
        states = list({id(state): state for state in (self._after[prev] for prev in prevs)}.values())
        distinct = [state for i, state in enumerate(states) if state not in states[:i]]
        if len(distinct) < 2:
            return distinct[0] if distinct else {}
        ours = {i: e for i, e in self._events.items() if e.room_id == room_id}
        store = StoredEvents(ours)
        if self._version.state_res == StateResolutionVersions.V1:
            return dict(
                run(
                    v1.resolve_events_with_store(
                        room_id, self._version, distinct, dict(ours), store.get_events
                    )
                )
            )
        unstored = dict(ours) if store.paths() <= MAX_PATHS else None
        resolving = v2.resolve_events_with_store(NoClock(), room_id, self._version, distinct, unstored, store)
        return dict(run(resolving))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("Synapse waited for something")


def listed(state: dict[tuple[str, str], str]) -> list[list[str]]:
    """Return a state map as JSON."""
    return [[*key, event_id] for key, event_id in sorted(state.items())]


def judge(case: dict[str, Any]) -> dict[str, Any]:
    """Judge one room."""
    room = Room(case["version"])
    for pdu in case["outliers"]:
        room.add_outlier(pdu)
    events: list[dict[str, Any]] = []
    try:
        for pdu in case["events"]:
            events.append(room.judge(pdu))  # noqa: PERF401 - what was judged before a failure counts
        return {"events": events, "state": listed(room.state_after(case["ends"])), "stuck": ""}
    except Exception as error:  # noqa: BLE001 - some states Synapse cannot resolve
        return {"events": events, "state": None, "stuck": repr(error)}


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    for line in sys.stdin:
        print(json.dumps(judge(json.loads(line))), flush=True)
