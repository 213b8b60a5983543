"""What is set about garbage holds for a whole process, so it is looked at in one of its own."""

import json
import subprocess
import sys

PROGRAM = """
import gc, json, weakref
from partialstate_service.resync.garbage import look_for_garbage_seldom

class Cycle:
    def __init__(self):
        self.itself = self

look_for_garbage_seldom()
last = weakref.ref(Cycle())
for count in range(1, 1_000_000):
    Cycle()
    if last() is None:
        break
print(json.dumps({"frozen": gc.get_freeze_count(), "count": count}))
"""


def test_garbage_is_found_after_some_thousand_objects():
    printed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=60)
    found = json.loads(printed.stdout)
    assert found["frozen"] > 1_000
    assert 1_000 < found["count"] <= 10_000
