"""Synapse as the judge of our verdicts and resolutions, in a process and a Python of its own."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from partialstate_service.matrix.event import StateMap
from support.random_rooms import RandomRoom

_ROOT = Path(__file__).parents[2]
_SCRIPT = _ROOT / "tests" / "judge" / "synapse_judge.py"


def synapse_python() -> Path | None:
    """Return the Python that `make interop-env` put Synapse into, or None where it was not run."""
    python = Path(os.environ.get("SYNAPSE_ENV", _ROOT / ".venv-synapse")) / "bin" / "python"
    return python if python.exists() else None


class Judge:
    """A judge process; a context manager that ends it."""

    def __init__(self, python: Path) -> None:
        # The rooms that Synapse could judge in part only, and what it stumbled over.
        self.stuck: list[str] = []
        self._process = subprocess.Popen(
            [python, _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def differences(self, room: RandomRoom) -> list[str]:
        """Return in words where Synapse's verdicts and states of *room* are not ours."""
        judgement = self._ask(room)
        if judgement["stuck"]:
            self.stuck.append(f"version {room.version} seed {room.seed}: {judgement['stuck']}")
        return list(_differences(room, judgement))

    def _ask(self, room: RandomRoom) -> dict[str, Any]:
        case = {
            "version": room.version,
            "outliers": [event.raw for event in room.outliers],
            "events": [event.raw for event in room.events],
            "ends": sorted(room.replay.forward_extremities()),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the judge gave up on the room {room.version} {room.seed}")
        judgement: dict[str, Any] = json.loads(line)
        return judgement


def _differences(room: RandomRoom, judgement: dict[str, Any]) -> Iterator[str]:
    for event, judged in zip(room.events, judgement["events"], strict=not judgement["stuck"]):
        ours = room.outcomes[event.event_id].rejection
        where = f"version {room.version} seed {room.seed} {event.event_id} {event.type}"
        if judged["id"] != event.event_id:
            yield f"{where}: Synapse's id is {judged['id']}"
        if (ours is None) != (judged["verdict"] == "accepted"):
            yield f"{where}: Synapse {judged['verdict']} ({judged['why']}), we {ours or 'accepted'}"
        if judged["merged"] is not None:
            yield from _unequal(
                f"{where}: state before", judged["merged"], room.replay.state_before(event.event_id)
            )
    where = f"version {room.version} seed {room.seed}: current state"
    if not judgement["stuck"]:
        yield from _unequal(where, judgement["state"], room.replay.current_state())


def _unequal(where: str, theirs: list[list[str]], ours: StateMap) -> Iterator[str]:
    state = {(kind, state_key): event_id for kind, state_key, event_id in theirs}
    for key in sorted({*state, *ours}):
        if state.get(key) != ours.get(key):
            yield f"{where}: at {key} Synapse has {state.get(key)}, we {ours.get(key)}"
