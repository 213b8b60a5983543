"""How resyncs look: lines, and live bars where there is a terminal."""

from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from partialstate.changes import RoomChanged, RoomEnded
from partialstate.cli.output import Output, plain
from partialstate.rooms import PartialRoom, RoomStatus


def progress_text(room: PartialRoom) -> str:
    """Return how far a resync is, in words."""
    resync = room.resync
    expected = resync.events_expected or "?"
    match room.status:
        case RoomStatus.RESYNCING if resync.next_attempt is None:
            stage = resync.stage.value.lower().replace("_", " ")
            return f"{stage}, {resync.events_verified} of {expected} events"
        case RoomStatus.RESYNCING | RoomStatus.STALLED:
            due = f", next attempt {moment_text(resync.next_attempt)}" if resync.next_attempt else ""
            failure = f": {resync.last_failure}" if resync.last_failure else ""
            return f"{resync.attempt_count} attempts{due}{failure}"
        case RoomStatus.AWAITING_IMPORT:
            return f"log position {room.log_position}, imported up to {room.acknowledged_position}"
        case _:
            return ""


def change_text(change: RoomChanged | RoomEnded) -> str:
    """Return one line for a change."""
    match change:
        case RoomChanged(_, room):
            return f"{room.room_id} generation {room.generation} {room.status} {progress_text(room)}".rstrip()
        case RoomEnded():
            return f"{change.room_id} generation {change.generation} ENDED {change.ending}"


def moment_text(moment: datetime | None) -> str:
    """Return a time in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if moment else "-"


def age_text(moment: datetime | None, now: datetime) -> str:
    """Return how long ago *moment* was, roughly."""
    if moment is None:
        return "-"
    seconds = max(int((now - moment).total_seconds()), 0)
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


class ResyncView:
    """Shows changes of rooms as they come: a bar per room on a terminal, else a line per change."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._tasks: dict[str, TaskID] = {}
        self._lines: dict[str, str] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}", markup=False),
            console=output.console,
            disable=not output.is_live,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, change: RoomChanged | RoomEnded) -> None:
        """Show a change."""
        if self._output.is_live:
            self._draw(change)
            return
        room_id = change.room.room_id if isinstance(change, RoomChanged) else change.room_id
        text = change_text(change)
        if self._lines.get(room_id) != text:  # not each change of the registry can be seen
            self._lines[room_id] = text
            self._output.text(text)
            self._output.flush()

    def _draw(self, change: RoomChanged | RoomEnded) -> None:
        if isinstance(change, RoomEnded):
            if (task := self._tasks.pop(change.room_id, None)) is not None:
                self._progress.remove_task(task)
            self._progress.console.print(plain(change_text(change)), markup=False)
            return
        room = change.room
        if (task := self._tasks.get(room.room_id)) is None:
            task = self._tasks[room.room_id] = self._progress.add_task(plain(room.room_id), note="")
        done, total = _bar(room)
        note = plain(f"{room.status} {progress_text(room)}".rstrip())
        self._progress.update(task, completed=done, total=total, note=note)


def _bar(room: PartialRoom) -> tuple[float, float | None]:
    if room.status is RoomStatus.AWAITING_IMPORT:
        return 1, 1
    return room.resync.events_verified, room.resync.events_expected or None
