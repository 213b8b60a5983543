"""How long to wait for a body that may be large, honest and slow, or endless and slower. Pure."""


class StalledError(Exception):
    """Too little arrived for too long, or the whole took too long."""


class Progress:
    """Counts the time spent waiting for a peer; the time that the reader takes itself is not counted."""

    def __init__(self, *, total_s: float, window_s: float, min_bytes: int) -> None:
        self._left_s = total_s
        self._window_s = window_s
        self._min_bytes = min_bytes
        self._window_left_s = window_s
        self._window_bytes = 0

    @property
    def allowance_s(self) -> float:
        """How long the next wait may be."""
        return min(self._left_s, self._window_left_s)

    def arrived(self, waited_s: float, size: int) -> None:
        """Note that *size* bytes came after a wait of *waited_s*; raises `StalledError` where no time is left."""
        self._left_s -= waited_s
        self._window_left_s -= waited_s
        self._window_bytes += size
        if self._window_bytes >= self._min_bytes:
            self._window_left_s = self._window_s
            self._window_bytes = 0
        if self.allowance_s <= 0:
            raise StalledError
