"""How many rooms are worked on at the same time, by what they need."""

import asyncio


class Slots:
    """Slots for rooms that are worked on, for those among them that take long, and for those that only wait.

    So neither huge rooms nor those whose servers do not answer hold up the others. A room in a slot of the last kind
    costs what it has loaded; of the other kinds, CPU time too.
    """

    def __init__(self, *, working: int, long: int, waiting: int, long_s: float) -> None:
        """*long_s* is from when on a room takes long, and from when on it only waits."""
        self._long_s = long_s
        self._working = asyncio.Semaphore(working)
        self._long = asyncio.Semaphore(long)
        self._waiting = asyncio.Semaphore(waiting)

    async def take(self) -> "Slot":
        """Wait for a slot for any room."""
        await self._working.acquire()
        return Slot(self, self._working)

    def wanted(self, worked_s: float, waited_s: float) -> asyncio.Semaphore:
        """Return where a room belongs that was begun and has waited for so long."""
        if waited_s >= self._long_s:
            return self._waiting
        return self._long if worked_s >= self._long_s else self._working


class Slot:
    """A slot of one room. Given back once, maybe early."""

    def __init__(self, slots: Slots, held: asyncio.Semaphore) -> None:
        self._slots = slots
        self._held: asyncio.Semaphore | None = held

    async def suit(self, worked_s: float, waited_s: float) -> None:
        """Change over to a slot of the kind that suits a room that was begun and has waited for so long, if one is free."""
        wanted = self._slots.wanted(worked_s, waited_s)
        if self._held is not None and self._held is not wanted and not wanted.locked():
            await wanted.acquire()  # one is free, so this does not wait
            self._held.release()
            self._held = wanted

    def release(self) -> None:
        """Give the slot back."""
        if self._held is not None:
            self._held.release()
            self._held = None
