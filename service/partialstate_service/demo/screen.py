"""The demo on a terminal."""

from types import TracebackType
from typing import Self

from partialstate import PartialRoom, RoomStatus
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from partialstate_service.demo.summary import Asked, Summary


class Screen:
    """Shows the story with rich; an `Audience`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def chapter(self, title: str) -> None:
        """See `Audience`."""
        self._console.print(f"\n[bold]{escape(title)}[/bold]")

    def note(self, text: str) -> None:
        """See `Audience`."""
        self._console.print(f"  {escape(text)}", highlight=False, soft_wrap=True)

    def asked(self, asked: Asked) -> None:
        """See `Audience`."""
        mark = "[green]✓[/green]" if asked.ok else "[red]✗[/red]"
        wrong = "" if asked.ok else f"  [red]expected {escape(asked.expected)}[/red]"
        line = f"  {mark} {asked.by}: {asked.request} → [bold]{asked.got}[/bold] [dim]{asked.ms:.1f} ms[/dim]{wrong}"
        self._console.print(line, highlight=False, soft_wrap=True)

    def progress(self, room: PartialRoom | None) -> None:
        """See `Audience`."""
        if room is None:
            self._bar.stop()
            return
        if self._task is None:
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        resync = room.resync
        stage = "importing" if room.status is RoomStatus.AWAITING_IMPORT else resync.stage.value
        self._bar.update(
            self._task,
            description=f"{stage.lower().replace('_', ' ')}, {len(resync.servers)} servers asked",
            completed=resync.events_verified,
            total=resync.events_expected or None,
        )

    def end(self, summary: Summary) -> None:
        """Show the figures and the verdict."""
        self._console.print("\n[bold]Figures[/bold]")
        for figure in summary.figures:
            self._console.print(
                f"  {figure.name}: {figure.value:g} {figure.unit}", highlight=False, soft_wrap=True
            )
        outcomes = sorted(summary.outcomes.values())
        told = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
        self._console.print(f"  servers that the resync asked: {told}", highlight=False, soft_wrap=True)
        if summary.ok:
            self._console.print("\n[bold green]Every answer was right, and the state is exact.[/bold green]")
        else:
            self._console.print("\n[bold red]Not everything was as it must be.[/bold red]")


class Nobody:
    """An `Audience` that does not listen."""

    def chapter(self, title: str) -> None:
        """See `Audience`."""

    def note(self, text: str) -> None:
        """See `Audience`."""

    def asked(self, asked: Asked) -> None:
        """See `Audience`."""

    def progress(self, room: PartialRoom | None) -> None:
        """See `Audience`."""
