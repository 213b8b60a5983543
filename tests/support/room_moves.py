"""What users of a random room do, and what those try who only may not."""

from collections.abc import Sequence
from typing import Any

from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.power_levels import CREATOR_LEVEL
from partialstate_service.matrix.signing import sign_json
from support.room_scene import Draft, Moves, Scene, member
from support.rooms import server_signing_key
from unpaddedbase64 import encode_base64

IDENTITY_SERVER = ServerName("identity.example")
UNPRIVILEGED_KEYS = ("", "one", "two")
MOVES = Moves()


def first_events(scene: Scene) -> Sequence[Draft]:
    """Return how the room begins: create, join, power levels, join rules, and a first helper."""
    creator, helper = scene.people[:2]
    content: dict[str, Any] = {"room_version": scene.version.version}
    if not scene.version.implicit_room_creator:
        content["creator"] = creator
    if scene.closed:
        content["m.federate"] = False
    if scene.version.privileged_creators and scene.rng.random() < 0.4:
        content["additional_creators"] = [scene.people[2]]
    if scene.stillborn:
        content |= scene.rng.choice(stillbirths(scene))
    users = {helper: 50} if scene.version.privileged_creators else {creator: 100, helper: 50}
    return [
        Draft("m.room.create", creator, content, ""),
        member(creator, creator, "join"),
        Draft("m.room.power_levels", creator, {"users": users}, ""),
        Draft("m.room.join_rules", creator, {"join_rule": "public"}, ""),
        *(member(user, user, "join") for user in scene.people[1:6]),
    ]


def stillbirths(scene: Scene) -> list[dict[str, Any]]:
    wrong: list[dict[str, Any]] = [{"room_version": "org.example.unknown"}]
    if scene.version.privileged_creators:
        named: dict[str, Any] = {"room_version": scene.version.version}
        wrong += [{**named, "additional_creators": users} for users in (["nobody"], "@creator:a.example")]
    return wrong


# Honest moves, and those of people who only may not.


@MOVES.move(4)
def message(scene: Scene) -> Draft | None:
    """Say something, perhaps from outside."""
    sender = scene.someone("join") if scene.rng.random() < 0.8 else scene.anyone()
    return (sender and Draft("m.room.message", sender, {"body": "hello"})) or None


@MOVES.move(8)
def setting(scene: Scene) -> Draft:
    """Set a topic or the like."""
    sender = (scene.powerful() if scene.rng.random() < 0.75 else None) or scene.anyone()
    kind = scene.rng.choice(("m.room.topic", "m.room.name", "org.example.note"))
    return Draft(kind, sender, {"text": str(scene.rng.random())}, scene.rng.choice(UNPRIVILEGED_KEYS))


@MOVES.move(2)
def own_setting(scene: Scene) -> Draft:
    """Set state under one's own name, or under another's (rule: state keys of users)."""
    sender = scene.powerful() or scene.anyone()
    owner = sender if scene.rng.random() < 0.4 else scene.anyone()
    return Draft("org.example.own", sender, {"n": scene.rng.random() > 0.5}, owner)


@MOVES.move(8)
def join(scene: Scene) -> Draft | None:
    """Join, or change one's profile."""
    user = scene.someone("leave", "invite", "knock") if scene.rng.random() < 0.7 else scene.anyone()
    return (user and member(user, user, "join", displayname=str(scene.rng.randint(0, 9)))) or None


@MOVES.move(4)
def leave(scene: Scene) -> Draft:
    """Leave, also where one never was."""
    user = scene.someone("join", "invite", "knock") if scene.rng.random() < 0.7 else None
    user = user or scene.anyone()
    return member(user, user, "leave")


@MOVES.move(10)
def use_power_on_someone(scene: Scene) -> Draft:
    """Kick, ban, unban or invite, sometimes with the power it takes."""
    sender = (scene.powerful() if scene.rng.random() < 0.7 else None) or scene.anyone()
    membership = scene.rng.choice(("leave", "ban", "ban", "invite"))
    target = scene.anyone()
    if membership == "leave" and scene.rng.random() < 0.5:
        target = scene.someone("ban") or target
    return member(sender, target, membership)


@MOVES.move(10)
def invite_without_power(scene: Scene) -> Draft | None:
    """Invite a user or an address where that takes power."""
    sender, target = scene.powerless(), scene.someone("leave")
    if not sender or not target or scene.levels.get("invite", 0) in (0, "0"):
        return None
    if scene.rng.random() < 0.5:
        return member(sender, target, "invite")
    return Draft("m.room.third_party_invite", sender, {"public_key": "", "display_name": ""}, "token1")


@MOVES.move(3)
def unban_without_power(scene: Scene) -> Draft | None:
    """Lift a ban with too little power."""
    sender, target = scene.powerless(), scene.someone("ban")
    return member(sender, target, "leave") if sender and target else None


@MOVES.move(9)
def change_power(scene: Scene) -> Draft:
    """Raise or lower somebody, often as far as one can, sometimes further."""
    sender = (scene.powerful() if scene.rng.random() < 0.85 else None) or scene.anyone()
    content = scene.levels
    users = dict(content.get("users", {}))
    target = scene.anyone()
    users[target] = scene.rng.choice((0, 10, 50, 50, min(scene.level(sender), 100), 100, 101))
    if (
        scene.version.privileged_creators
        and scene.level(target) == CREATOR_LEVEL
        and scene.rng.random() < 0.7
    ):
        users.pop(target)
    return Draft("m.room.power_levels", sender, {**content, "users": users}, "")


@MOVES.move(6)
def change_required_power(scene: Scene) -> Draft:
    """Change what something requires."""
    sender = (scene.powerful() if scene.rng.random() < 0.9 else None) or scene.anyone()
    content = scene.levels
    name = scene.rng.choice(
        ("ban", "kick", "invite", "redact", "state_default", "users_default", "events_default")
    )
    level = scene.rng.choice((25, 50) if name == "invite" else (0, 0, 25, 50, 60, 100))
    dice = scene.rng.random()
    if dice < 0.4:
        content[name] = level if name not in ("users_default", "events_default") else min(level, 25)
    elif dice < 0.7:
        kind = scene.rng.choice(("m.room.topic", "m.room.power_levels", "org.example.note"))
        content["events"] = {**content.get("events", {}), kind: level}
    else:
        content["notifications"] = {**content.get("notifications", {}), "room": level}
    return Draft("m.room.power_levels", sender, content, "")


@MOVES.move(6)
def change_join_rule(scene: Scene) -> Draft | None:
    """Open or close the room in one of its version's ways, or in none."""
    sender = scene.powerful() or scene.anyone()
    rules = ["public", "public", "public", "invite", "private", "org.example.rule"]
    rules += ["knock"] * 4 if scene.version.knocking else []
    rules += ["restricted"] * 4 if scene.version.restricted_joins else []
    rules += ["knock_restricted"] * 3 if scene.version.knock_restricted else []
    content: dict[str, Any] = {"join_rule": scene.rng.choice(rules)}
    if "restricted" in content["join_rule"]:
        content["allow"] = [{"type": "m.room_membership", "room_id": scene.foreign.room_id}]
    return Draft("m.room.join_rules", sender, content, "")


@MOVES.move(5)
def restricted_join(scene: Scene) -> Draft | None:
    """Join by someone's authority, who may not have it."""
    if not scene.version.restricted_joins:
        return None
    user = scene.someone("leave") or scene.anyone()
    voucher = (scene.powerful(0) if scene.rng.random() < 0.6 else None) or scene.anyone()
    return member(user, user, "join", join_authorised_via_users_server=voucher)


@MOVES.move(10)
def knock(scene: Scene) -> Draft | None:
    """Knock, where it is possible, where it is not, and where one is inside or banned."""
    open_to_knocks = scene.join_rule in ("knock", "knock_restricted")
    user = scene.someone("leave") if scene.rng.random() < 0.5 else scene.someone("join", "ban", "invite")
    if user is None or (not open_to_knocks and scene.rng.random() < 0.8):
        return None
    target = user if scene.rng.random() < 0.75 else scene.anyone()
    return member(user, target, "knock")


# Third-party invites.


@MOVES.move(4)
def third_party_invite(scene: Scene) -> Draft:
    """Invite an address, with or without the power to."""
    sender = (scene.powerful() if scene.rng.random() < 0.7 else None) or scene.anyone()
    key = encode_base64(bytes(server_signing_key(IDENTITY_SERVER).nacl_key.verify_key))
    content = {"display_name": "b...", "public_key": key, "public_keys": [{"public_key": key}]}
    return Draft("m.room.third_party_invite", sender, content, scene.rng.choice(("token1", "token2")))


@MOVES.move(9)
def fulfil_third_party_invite(scene: Scene) -> Draft | None:
    """Turn the invitation of an address into that of a user, with one thing wrong now and then."""
    invites = [e for key, e in scene.state.items() if key[0] == "m.room.third_party_invite"]
    if not invites:
        return None
    invite = scene.rng.choice(invites)
    target = scene.someone("leave") or scene.anyone()
    flaw = scene.rng.choice(("", "", "banned", "signed", "fields", "mxid", "token", "sender", "signature"))
    if flaw == "banned":
        target = scene.someone("ban") or target
    signed: dict[str, Any] = {"mxid": target, "token": invite.state_key}
    if flaw == "mxid":
        signed["mxid"] = "@someone.else:a.example"
    if flaw == "token":
        signed["token"] = "unknown"
    key = server_signing_key("wrong.example" if flaw == "signature" else IDENTITY_SERVER)
    signed = sign_json(signed, IDENTITY_SERVER, key)
    if flaw == "fields":
        del signed[scene.rng.choice(("mxid", "token", "signatures"))]
    content = {} if flaw == "signed" else {"signed": signed}
    sender = scene.anyone() if flaw == "sender" else invite.sender
    return member(sender, target, "invite", third_party_invite={"display_name": "b...", **content})
