"""Random events, most of them good, some with one thing wrong; the same for the same seed."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from partialstate_service.matrix.room_versions import RoomVersion
from support.signed_events import OMIT, signed_event

Json = dict[str, Any]

TYPES = (
    "m.room.member",
    "m.room.create",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.aliases",
    "m.room.history_visibility",
    "m.room.redaction",
    "m.room.message",
    "m.room.third_party_invite",
)
# What some version's redaction keeps, and what none does.
CONTENT_KEYS = (
    *("additional_creators", "aliases", "allow", "ban", "creator", "events", "events_default"),
    *(
        "history_visibility",
        "invite",
        "join_rule",
        "kick",
        "m.federate",
        "notifications",
        "redact",
        "redacts",
    ),
    *("room_version", "state_default", "third_party_invite", "users", "users_default", "org.example.other"),
)
TOP_LEVEL_KEYS = ("membership", "org.example.other", "origin", "prev_state", "redacts")
TEXTS = ("join", "invite", "é😀", '"\\\n\x00\x7f\u2028', "@a:b", "")
LOOSE_NUMBERS = (
    1.0,
    1e-7,
    1e16,
    1e22,
    -0.0,
    5e-324,
    123456789.123,
    2**53,
    2**63,
    2**64 + 1,
    -(2**63) - 1,
    10**30,
)


def random_events(version: RoomVersion, seed: int, number: int) -> Iterator[Json]:
    """Yield *number* events as a server could send them."""
    chance = random.Random(seed)
    for _ in range(number):
        raw = signed_event(version, **_fields(chance, version))
        if chance.random() < 0.3:
            chance.choice(SPOILERS)(chance, raw)
        yield raw


def _fields(chance: random.Random, version: RoomVersion) -> Json:
    event_type = chance.choice(TYPES)
    fields: Json = {key: _value(chance) for key in TOP_LEVEL_KEYS if chance.random() < 0.3}
    fields |= {
        "type": event_type,
        "content": {key: _value(chance) for key in chance.sample(CONTENT_KEYS, chance.randrange(9))},
        "depth": chance.choice([0, 5, 2**53 - 1]),
        "origin_server_ts": chance.choice([0, -1, 10**12]),
        "state_key": chance.choice(["", "@a:domain", "x", OMIT]),
    }
    if event_type == "m.room.member":
        fields["content"]["membership"] = chance.choice(["join", "invite", "leave", "ban", "knock"])
        if fields["content"]["membership"] == "join" and chance.random() < 0.5:
            user = chance.choice(["@u:domain", "nobody", 5])
            fields["content"]["join_authorised_via_users_server"] = user
    if event_type == "m.room.create":
        fields["state_key"] = ""
        if version.room_ids_as_hashes and chance.random() < 0.8:
            fields["room_id"] = OMIT
    if not version.strict_canonical_json and chance.random() < 0.3:
        fields["content"]["org.example.number"] = chance.choice(LOOSE_NUMBERS)
    if chance.random() < 0.3:
        fields["unsigned"] = {"age": _value(chance), "org.example.other": 1.5}
    return fields


def _value(chance: random.Random, levels: int = 3) -> Any:
    kind = chance.randrange(5) if levels else chance.randrange(3)
    match kind:
        case 0:
            return chance.choice(TEXTS)
        case 1:
            return chance.randrange(-(2**53) + 1, 2**53)
        case 2:
            return chance.choice([None, True, False, 0])
        case 3:
            return [_value(chance, levels - 1) for _ in range(chance.randrange(3))]
        case _:
            keys = chance.sample([*CONTENT_KEYS, "signed", "😀", "\uffff"], chance.randrange(4))
            return {key: _value(chance, levels - 1) for key in keys}


def _replace(name: str, *values: Any) -> Callable[[random.Random, Json], None]:
    def spoil(chance: random.Random, raw: Json) -> None:
        raw[name] = chance.choice(values)

    return spoil


def _omit(chance: random.Random, raw: Json) -> None:
    del raw[chance.choice(["auth_events", "content", "depth", "hashes", "prev_events", "sender", "type"])]


def _nest(chance: random.Random, raw: Json) -> None:
    value: Any = 0
    for _ in range(chance.choice([100, 124, 125, 126, 127, 200, 300])):
        value = [value]
    raw["content"]["deep"] = value


SPOILERS: tuple[Callable[[random.Random, Json], None], ...] = (
    _omit,
    _nest,
    _replace(
        "content",
        {"membership": "leave", "body": "forged"},
        {"membership": "ban", "third_party_invite": {"signed": {}}},
        [],
        None,
    ),
    _replace("depth", -1, True, "1", 1.0, 2**53, 2**63),
    _replace("hashes", {}, [], None, {"sha256": 1}, {"sha256": "A"}, {"sha256": "é"}, {"sha256": "AAAA"}),
    _replace("origin_server_ts", "1", None, True, 1.5),
    _replace("prev_events", None, "x", [1], [None], [[]], {}),
    _replace("sender", 1, None, "x", "@x"),
    _replace("signatures", None, [], {"domain": []}, {"domain": "x"}),
    _replace("state_key", None, 1, True, "x" * 256, "é" * 128),
    _replace("type", None, 1, "x" * 255, "x" * 256, "é" * 128),
)
