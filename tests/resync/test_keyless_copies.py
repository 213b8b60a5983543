"""Copies of events without keys are kept within bounds, and not for ever."""

from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.resync.keyless_copies import KeylessCopies

ROOM, OTHER = RoomId("!r:a"), RoomId("!o:a")
A, B, C = EventId("$a"), EventId("$b"), EventId("$c")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_copies_are_of_one_room_each_until_they_are_forgotten():
    copies = KeylessCopies()
    copies.keep(ROOM, A, b"a")
    copies.keep(OTHER, A, b"o")
    assert copies.of(ROOM, [A, B]) == {A: b"a"}
    copies.keep(ROOM, C, b"c")
    copies.forget(ROOM, [B, C])
    assert copies.of(ROOM, [A, C]) == {A: b"a"}
    copies.forget(ROOM)
    assert copies.of(ROOM, [A]) == {}
    assert copies.of(OTHER, [A]) == {A: b"o"}


def test_the_oldest_copies_make_room_for_later_ones():
    copies = KeylessCopies(max_bytes=10)
    for event_id in (A, B, C):
        copies.keep(ROOM, event_id, b"1234")
        copies.keep(ROOM, event_id, b"1234")
    assert copies.of(ROOM, [A, B, C]).keys() == {B, C}
    copies.keep(ROOM, A, b"x" * 11)
    assert copies.of(ROOM, [A, B, C]) == {}
    copies.keep(ROOM, A, b"x" * 10)
    assert copies.of(ROOM, [A]) == {A: b"x" * 10}


def test_a_copy_is_not_used_for_ever():
    clock = Clock()
    copies = KeylessCopies(max_age_s=10, now_s=clock)
    copies.keep(ROOM, A, b"a")
    clock.now_s = 9
    copies.keep(ROOM, A, b"b")
    assert copies.of(ROOM, [A]) == {A: b"a"}
    clock.now_s = 10
    assert copies.of(ROOM, [A]) == {}
    copies.keep(ROOM, A, b"b")
    assert copies.of(ROOM, [A]) == {A: b"b"}
