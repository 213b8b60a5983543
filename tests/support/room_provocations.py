"""Provocations: moves that break one authorisation rule each, or rest on auth events that they should not."""

from collections.abc import Sequence
from typing import Any

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.power_levels import CREATOR_LEVEL
from support.room_moves import (
    UNPRIVILEGED_KEYS,
    change_join_rule,
    change_power,
    join,
    setting,
    stillbirths,
    use_power_on_someone,
)
from support.room_scene import AuthChoice, Draft, Moves, Scene, member
from support.rooms import domain

PROVOCATIONS = Moves()


@PROVOCATIONS.move(2)
def join_for_another(scene: Scene) -> Draft:
    """Make another join."""
    return member(scene.anyone(), scene.anyone(), "join")


@PROVOCATIONS.move(1.5)
def join_banned(scene: Scene) -> Draft | None:
    """Join in spite of a ban."""
    user = scene.someone("ban")
    return (user and member(user, user, "join")) or None


@PROVOCATIONS.move(1.5)
def unknown_membership(scene: Scene) -> Draft:
    """Invent a membership."""
    user = scene.anyone()
    return member(user, user, "lurk")


@PROVOCATIONS.move(1.5)
def malformed_member(scene: Scene) -> Draft:
    """Leave out what a membership event must have."""
    user = scene.powerful(0) or scene.anyone()
    dice = scene.rng.random()
    if dice < 0.4:
        return Draft("m.room.member", user, {"membership": "join"})
    return Draft("m.room.member", user, {} if dice < 0.7 else {"membership": 7}, user)


@PROVOCATIONS.move(1.5)
def member_that_is_no_user(scene: Scene) -> Draft:
    """Give a membership to what is no user."""
    sender = scene.powerful() or scene.anyone()
    return member(sender, scene.rng.choice(("nobody", "", "#alias:a.example")), "ban")


@PROVOCATIONS.move(3)
def aliases(scene: Scene) -> Draft:
    """Publish the aliases of one's server, or of another's."""
    sender = scene.anyone()
    key: str | None = scene.rng.choice((domain(sender), "z.example", None))
    return Draft("m.room.aliases", sender, {"aliases": []}, key)


@PROVOCATIONS.move(3)
def redaction(scene: Scene) -> Draft | None:
    """Redact an event, one's own or not."""
    sender = scene.someone("join")
    if sender is None:
        return None
    redacted = scene.rng.choice(scene.accepted).event_id if scene.accepted else "$none"
    if scene.rng.random() < 0.4:
        redacted = EventId("$old:z.example")
    content = {"redacts": redacted} if scene.version.updated_redaction_rules else {}
    fields = {} if scene.version.updated_redaction_rules else {"redacts": redacted}
    return Draft("m.room.redaction", sender, content, fields=fields)


@PROVOCATIONS.move(8)
def malformed_power(scene: Scene) -> Draft | None:
    """Write power levels that are none."""
    sender = scene.powerful(100) or scene.powerful()
    if sender is None:
        return None
    content, users = scene.levels, dict(scene.levels.get("users", {}))
    flaw = scene.rng.choice(("state_key", "single", "single", "map", "map", "users", "unreadable", "creator"))
    if flaw == "state_key":
        return Draft("m.room.power_levels", sender, content)
    if flaw == "single":
        content[scene.rng.choice(("ban", "kick", "redact"))] = scene.rng.choice(("50", " 49 ", "-1"))
    if flaw == "map":
        content["events"] = {**content.get("events", {}), "org.example.x": scene.rng.choice(("1", "x"))}
    if flaw == "users":
        content["users"] = {**users, scene.rng.choice(("nobody", "@nobody", "")): 1}
    if flaw == "unreadable":
        content[scene.rng.choice(("ban", "invite", "events_default"))] = scene.rng.choice(("much", {}, [1]))
    if flaw == "creator" and scene.version.privileged_creators:
        content["users"] = {**users, scene.people[0]: 100}
    return Draft("m.room.power_levels", sender, content, "")


@PROVOCATIONS.move(6)
def overreach(scene: Scene) -> Draft | None:
    """Change levels that are above one's own, or people who are as powerful as oneself."""
    sender = scene.powerful()
    if sender is None or scene.level(sender) >= 100:
        sender = scene.powerless() or sender
    if sender is None or scene.level(sender) == CREATOR_LEVEL:
        return None
    content = scene.levels
    mine, users = scene.level(sender), dict(content.get("users", {}))
    aim = scene.rng.choice(("single", "events", "notifications", "peer", "raise"))
    if aim == "single":
        content["ban"] = mine + 1
    if aim == "events":
        content["events"] = {**content.get("events", {}), "m.room.topic": mine + 1}
    if aim == "notifications":
        content["notifications"] = {"room": mine + 1}
    if aim == "peer":
        peers = [u for u, level in users.items() if u != sender and isinstance(level, int) and level >= mine]
        if not peers:
            return None
        users[scene.rng.choice(peers)] = 0
        content["users"] = users
    if aim == "raise":
        content["users"] = {**users, scene.anyone(): mine + 1}
    return Draft("m.room.power_levels", sender, content, "")


@PROVOCATIONS.move(5)
def second_create(scene: Scene) -> Draft | None:
    """Create the room once more, beside its timeline and wrongly."""
    creator = scene.people[0]
    if scene.version.room_ids_as_hashes:
        # A create event is the root of a room of its own there.
        return Draft("m.room.create", creator, scene.rng.choice(stillbirths(scene)), "", prevs=())
    content: dict[str, Any] = {"room_version": scene.version.version, "creator": creator}
    flaw = scene.rng.choice(("prevs", "domain", "version", "creator"))
    if flaw == "prevs":
        return Draft("m.room.create", creator, content, "")
    if flaw == "domain":
        creator = "@other:z.example"
    if flaw == "version":
        content["room_version"] = "org.example.unknown"
    if flaw == "creator":
        del content["creator"]
        content["n"] = scene.rng.random() > 0.5
    return Draft("m.room.create", creator, content, "", prevs=())


# Auth events that are not those of the state.


@PROVOCATIONS.move(8)
def stale_auth(scene: Scene) -> Draft | None:
    """Rest on auth events that were superseded."""
    draft = scene.rng.choice((setting, change_power, use_power_on_someone, join, change_join_rule))(scene)
    if draft is None:
        return None

    def choose(scene: Scene) -> Sequence[EventId]:
        auth = _usual_auth(scene, draft)
        place = scene.rng.randrange(len(auth)) if auth else 0
        older = [e for e in scene.accepted if auth and _slot(e) == _slot(scene.room.events[auth[place]])]
        if older:
            auth[place] = scene.rng.choice(older).event_id
        return auth

    return _with_auth(draft, choose)


@PROVOCATIONS.move(9)
def wrong_auth(scene: Scene) -> Draft | None:
    """Rest on auth events that no list may hold."""
    sender = scene.powerful(0)
    if sender is None:
        return None
    draft = Draft("org.example.note", sender, {"wrong": True}, scene.rng.choice(UNPRIVILEGED_KEYS))
    flaw = scene.rng.choice(("duplicate", "unneeded", "rejected", "create", "foreign", "message"))

    def choose(scene: Scene) -> Sequence[EventId]:
        auth = _usual_auth(scene, draft)
        slots = {_slot(scene.room.events[event_id]) for event_id in auth}
        spare: list[EventId] = []
        if flaw == "duplicate":
            spare = [e.event_id for e in scene.accepted if _slot(e) in slots and e.event_id not in auth]
        elif flaw == "unneeded":
            spare = [e.event_id for e in scene.accepted if e.is_state and _slot(e) not in slots]
            if scene.version.room_ids_as_hashes:
                # Synapse does not parse an event that lists the create event, so it has no verdict on it.
                spare = [i for i in spare if scene.room.events[i].type != "m.room.create"]
        elif flaw == "message":
            spare = [e.event_id for e in scene.accepted if not e.is_state]
        elif flaw == "rejected":
            rejected = [e for e in scene.rejected_state if _slot(e) in slots]
            if rejected:
                chosen = scene.rng.choice(rejected)
                auth = [i for i in auth if _slot(scene.room.events[i]) != _slot(chosen)]
                spare = [chosen.event_id]
        elif flaw == "foreign":
            place = ("m.room.member", sender)
            auth = [i for i in auth if _slot(scene.room.events[i]) != place]
            spare = [scene.foreign.state[place]] if place in scene.foreign.state else []
        elif flaw == "create":
            return [i for i in auth if scene.room.events[i].type != "m.room.create"]
        return [*auth, scene.rng.choice(spare)] if spare else auth

    return _with_auth(draft, choose)


def _with_auth(draft: Draft, choose: AuthChoice) -> Draft:
    return Draft(draft.kind, draft.sender, draft.content, draft.state_key, auth=choose, fields=draft.fields)


def _usual_auth(scene: Scene, draft: Draft) -> list[EventId]:
    event = scene.room.build(draft.kind, draft.sender, draft.content, draft.state_key, prev=())
    return list(event.auth_event_ids)


def _slot(event: Event) -> tuple[str, str | None]:
    return event.type, event.state_key
