"""What commands print: JSON for programs, text for people."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from partialstate.cli.json_shapes import line
from partialstate.cli.standard_streams import flush_output, writing

_WIDER_THAN_ANY_ROW = 10_000


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:  # a row is a line
        console.width = _WIDER_THAN_ANY_ROW
    return console


@dataclass(frozen=True, slots=True)
class Output:
    """The standard output."""

    as_json: bool
    console: Console = field(default_factory=_console)

    @property
    def is_live(self) -> bool:
        """Whether bars can be drawn: a person sits at a terminal."""
        return not self.as_json and self.console.is_terminal

    def result(self, shaped: Any, text: str) -> None:
        """Print a result: as JSON, or as text."""
        if self.as_json:
            self.json_line(shaped)
        else:
            self.text(text)

    def json_line(self, shaped: Any) -> None:
        """Print one line of JSON."""
        with writing():
            sys.stdout.write(line(shaped) + "\n")

    def flush(self) -> None:
        """Hand on what was printed: a reader may wait for it."""
        flush_output()

    def text(self, text: str) -> None:
        """Print lines for people."""
        with writing():
            for part in text.split("\n"):
                self.console.print(Text(plain(part)))

    def facts(self, facts: Mapping[str, object]) -> None:
        """Print names with their values, one per line."""
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            self.text(f"{name:<{width}}  {value}")

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
        """Print a table."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")  # an id that is cut short names nothing
        for row in rows:
            table.add_row(*(Text(plain(str(cell))) for cell in row))
        with writing():
            self.console.print(table, soft_wrap=False)


def plain(text: str) -> str:
    """Return *text* without anything that could steer a terminal: some of it comes from remote servers."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
