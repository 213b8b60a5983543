"""What was accepted or rejected with partial state is judged anew, after Complement's tests of the same."""

import pytest
from partialstate_service.domain.ids import UserId
from support.scenarios import REJECTED, Person

TOPIC = "m.room.topic"
LEVELS = "m.room.power_levels"
MEMBER = "m.room.member"
pytestmark = pytest.mark.parametrize("version", ["1", "6", "11", "12"])


def give_power(room, levels: dict[UserId, int]) -> None:
    """Let the room's creator give power to others."""
    above_all = {} if room.resident.version.privileged_creators else {room.charlie.user_id: 100}
    room.say(room.charlie, LEVELS, {"users": {**above_all, **levels}, "state_default": 50}, "")


def leave(room, person: Person) -> str:
    """Let somebody leave; return the id of the join that is over."""
    join_id = room.member(person)
    room.say(person, MEMBER, {"membership": "leave"}, person.user_id)
    return join_id


async def test_rejected_events_remain_rejected(room):
    """1611: a state event without the power for it stays rejected; the message after it is accepted."""
    latch = room.latch()
    joined = await room.join()
    end = dict(room.resident.current_state())
    topic = room.say(room.derek, TOPIC, {"topic": "mine"}, "", enters=False)
    message = room.say(
        room.derek, "m.room.message", {"body": "after it"}, prev=[room.id_of(topic)], enters=False
    )
    await room.record(joined, topic, verdict=REJECTED)
    await room.record(joined, message)
    await room.is_refused(room.id_of(message))
    latch.released.set()
    recovered = await room.recovered(joined)
    verdict = recovered.verdicts[room.id_of(topic)]
    assert (verdict.accepted, verdict.flipped) == (False, False)
    assert verdict.rejection
    verdict = recovered.verdicts[room.id_of(message)]
    assert (verdict.accepted, verdict.flipped) == (True, False)
    assert recovered.before[room.id_of(message)] == end
    assert recovered.current == end


async def test_state_accepted_incorrectly(room):
    """1682: Derek had left before our join, which the partial state does not say; citing his old join is no use."""
    give_power(room, {room.derek.user_id: 50})
    old_join = leave(room, room.derek)
    latch = room.latch()
    joined = await room.join()
    end = dict(room.resident.current_state())
    topic = room.say(
        *(room.derek, TOPIC, {"topic": "mine"}, ""),
        auth=room.cited(room.state(LEVELS), old_join),
        enters=False,
    )
    await room.record(joined, topic)
    await room.is_refused(room.id_of(topic))
    latch.released.set()
    recovered = await room.recovered(joined)
    verdict = recovered.verdicts[room.id_of(topic)]
    assert (verdict.accepted, verdict.flipped) == (False, True)
    assert verdict.rejection
    assert recovered.before[room.id_of(topic)] == end
    assert recovered.current == end
    assert recovered.current[MEMBER, room.derek.user_id] != old_join


async def test_state_rejected_incorrectly(room):
    """1762: Derek, who has left, kicks Elsie; with full state the kick is rejected and her state event stands."""
    give_power(room, {room.derek.user_id: 100, room.elsie.user_id: 50})
    old_join = leave(room, room.derek)
    latch = room.latch()
    joined = await room.join()
    end = dict(room.resident.current_state())
    levels, elsie = room.state(LEVELS), room.member(room.elsie)
    kick = room.say(
        *(room.derek, MEMBER, {"membership": "leave"}, room.elsie.user_id),
        auth=room.cited(levels, old_join, elsie),
        enters=False,
    )
    topic = room.say(
        *(room.elsie, TOPIC, {"topic": "still here"}, ""),
        prev=[room.id_of(kick)],
        auth=room.cited(levels, elsie),
        enters=False,
    )
    message = room.say(
        room.charlie, "m.room.message", {"body": "well"}, prev=[room.id_of(topic)], enters=False
    )
    await room.record(joined, kick)
    await room.record(joined, topic, verdict=REJECTED)
    await room.record(joined, message)
    await room.is_refused(room.id_of(message))
    latch.released.set()
    recovered = await room.recovered(joined)
    found = {
        name: (recovered.verdicts[room.id_of(event)].accepted, recovered.verdicts[room.id_of(event)].flipped)
        for name, event in (("kick", kick), ("topic", topic), ("message", message))
    }
    assert found == {"kick": (False, True), "topic": (True, True), "message": (True, False)}
    assert recovered.before[room.id_of(topic)] == end
    end[TOPIC, ""] = room.id_of(topic)
    assert recovered.before[room.id_of(message)] == end
    assert recovered.current == end
