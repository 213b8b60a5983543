"""The first look at events says whose keys to fetch, whatever the events are."""

import json

from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.federation.key_answers import MAX_KEPT_KEYS
from partialstate_service.resync.wanted_keys import WantedKeys

KEYS = {"ed25519:1": "sig"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def signed(event, *servers):
    return event | {"signatures": dict.fromkeys(servers, KEYS)}


def noted(*events, ids_have_servers=False):
    wanted = WantedKeys(ids_have_servers=ids_have_servers)
    for event in events:
        wanted.note(event)
    return wanted


def test_the_latest_time_counts_for_each_server():
    wanted = noted(
        signed({"sender": "@a:one.example", "origin_server_ts": 5}, "one.example"),
        signed({"sender": "@b:one.example", "origin_server_ts": 9}, "one.example"),
        signed({"sender": "@c:two.example:8448", "origin_server_ts": 7}, "two.example:8448"),
    )
    assert wanted.servers() == {"one.example": 9, "two.example:8448": 7}


def test_who_vouches_for_a_join_and_who_made_an_id_may_have_signed():
    event = signed(
        {
            "sender": "@a:one.example",
            "event_id": "$x:three.example",
            "content": {"join_authorised_via_users_server": "@v:two.example"},
        },
        "one.example",
        "two.example",
        "three.example",
    )
    assert noted(event).servers() == {"one.example": 0, "two.example": 0}
    of_early_version = noted(event, ids_have_servers=True)
    assert of_early_version.servers() == {"one.example": 0, "two.example": 0, "three.example": 0}


def test_who_has_not_signed_needs_no_key():
    for signatures in ({}, {"two.example": KEYS}, {"one.example": {}}, {"one.example": []}, None):
        assert noted({"sender": "@a:one.example", "signatures": signatures}).servers() == {}


def test_as_many_keys_of_a_server_are_sought_as_are_kept_of_it():
    events = (
        {"sender": "@a:one.example", "signatures": {"one.example": {f"ed25519:{number}": "sig"}}}
        for number in range(1000)
    )
    assert len(noted(*events).key_ids(["one.example"])["one.example"]) == MAX_KEPT_KEYS


def test_only_the_keys_of_servers_that_may_have_signed_are_sought():
    event = {"sender": "@a:one.example", "signatures": {"one.example": KEYS, "other.example": KEYS}}
    assert noted(event).key_ids({"one.example": 0, "other.example": 0}) == {"one.example": {"ed25519:1"}}


def test_what_no_request_could_carry_is_left_out():
    lone = json.loads(r'"\ud800"')
    wanted = noted(
        {
            "sender": "@a:one.example",
            "origin_server_ts": 10**400,
            "signatures": {"one.example": {lone: "s", "x" * 1000: "s", "ed25519:1": "s"}, lone: KEYS},
        },
        {"sender": f"@a:{lone}"},
    )
    assert wanted.servers() == {"one.example": 2**53 - 1}
    assert wanted.key_ids(["one.example"]) == {"one.example": {"ed25519:1"}}


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("sender", "event_id", "origin_server_ts", "content", "signatures"), json_values
        ),
    )
)
def test_no_fields_are_too_strange(fields):
    wanted = noted(fields, ids_have_servers=True)
    wanted.key_ids(wanted.servers())


def test_bodies_that_are_no_objects_need_no_keys():
    bodies = [b"", b"[]", b"{", b'{"sender":"@a:one.example","signatures":{"one.example":{"ed25519:1":""}}}']
    assert WantedKeys.of(bodies).servers() == {"one.example": 0}
