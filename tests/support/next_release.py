"""The service as its next release may be, to run beside this one: `python -m support.next_release serve`.

It reads one format more than this release. What it writes this release can read: rooms have a further field, `note`, and
each registration is followed by an entry of a further kind. With NEXT_RELEASE_WRITES=2 it is the release after that one,
which writes the new format, and so must never run beside this one.
"""

import os
import sys

from partialstate_service.store import formats

formats.READS = 2
formats.WRITES = int(os.environ.get("NEXT_RELEASE_WRITES", "1"))

from partialstate_service.store import scripts  # noqa: E402 - it reads the formats when it is imported

_CHANGES = {
    "_room": [("progress = true }", "progress = true, note = true }")],
    "register": [
        ("put('progress', progress)\n", "put('progress', progress)\nput('note', 'of ' .. join)\n"),
        ("commit('register')\n", "commit('register')\ncommit('noted')\n"),
    ],
}
_source_of_this_release = scripts._source


def _source(name: str) -> str:
    text = _source_of_this_release(name)
    for old, new in _CHANGES.get(name, ()):
        assert old in text, f"{name}.lua has no {old!r} any more"
        text = text.replace(old, new)
    return text


scripts._source = _source

if __name__ == "__main__":
    from partialstate_service.__main__ import main

    sys.exit(main())
