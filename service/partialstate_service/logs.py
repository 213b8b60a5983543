"""The log: for people at a terminal, else one JSON object per line. What others sent is in it as text, never as control."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_TOO_TALKATIVE = ("httpx", "httpcore")
"""They tell every request at INFO, where the service tells what came of it."""


def set_up_logs(level: str) -> None:
    """Log to stderr from now on, what is at least of *level*, a name in lower case."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    rendered: list[structlog.typing.Processor] = (
        [escape, structlog.dev.ConsoleRenderer()]
        if sys.stderr.isatty()
        else [structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(number, logging.INFO))
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def escape(logger: object, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what a terminal would obey, or take for a line of its own; JSON does that by itself."""
    del logger, method
    for key, value in entry.items():
        if isinstance(value, str):
            # A traceback has lines; indented, none of them passes for an entry.
            separator = "\n  " if key == "exception" else "\\n"
            entry[key] = separator.join(map(_printable, value.split("\n")))
    return entry


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line
    )
