"""The Lua scripts, each with the parts that it uses."""

import hashlib
import re
from functools import cache
from importlib.resources import files

from partialstate_service.store.formats import READS, WRITES

_USES = re.compile(r"-- uses: ([\w ]+)\n")
# Those that only read. All the same they are not declared so: a primary that has lost its replicas, and perhaps its
# office, must refuse them.
_READING = frozenset(
    (
        *("checkpoint", "get", "held_chunks", "log_segments", "page", "read_index", "read_token"),
        *("recorded_among", "recorded_events"),
    )
)


class Script:
    """One script with the parts that its first line names (`-- uses: _keys _room`)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.changes = name not in _READING
        """Whether it may change anything, so that replicas must have it before it is acknowledged."""
        body = _source(name)
        uses = _USES.match(body)
        parts = [_source(part) for part in uses[1].split()] if uses else []
        # The shebang makes the server enforce what a script may do: this one writes, so a replica refuses it.
        head = f"#!lua\nlocal READS, WRITES = {READS}, {WRITES} -- see formats.py\n"
        self.source = "".join([head, *parts, body]).encode()
        self.digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


@cache
def script(name: str) -> Script:
    """Return the script `scripts/<name>.lua`."""
    return Script(name)


def _source(name: str) -> str:
    return (files(__package__) / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
