"""How often Python looks for cycles of objects that nothing else refers to.

Its defaults suit programs with few objects. Here they cost a fifth of a large resync's CPU time, and each look at
everything held the event loop for up to 90 ms (a room of 50,000 members): almost nothing here makes cycles.
"""

import gc

_YOUNG = 10_000
"""After how many new objects the new ones are looked at; Python's default is 700."""
_MIDDLE = 20
"""After how many such looks those that survived are; default 10."""
_ALL = 20
"""After how many of those everything may be; default 10."""


def look_for_garbage_seldom() -> None:
    """Set it for this process, and leave out of all later looks what exists now: modules, classes, settings."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _ALL)
