"""Each rule of event authorisation matters: taken out of its table, some case has another outcome.

A rule is taken out of one row of one room version's table at a time; the cases are those of that version.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, TypeAlias

import pytest
from partialstate_service.matrix.event_auth import RULE_TABLES, AuthRejectionError, RuleTable
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from support.auth_cases import AuthCase, auth_cases, built_check

Place: TypeAlias = tuple[str, str | None]

# They have nothing to allow, or nothing to reject, by what they are for.
ALWAYS_REJECT = {"join_rule_is_known", "membership_is_known"}
ONLY_ALLOW = {"creator_joins_first", "join_of_public_room", "power_levels_are_the_first"}


def rows(table: RuleTable) -> Iterator[tuple[Place, tuple[Callable[..., Any], ...]]]:
    """Yield the rows of a table with their places: a field, and a key where the field is a mapping."""
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, tuple):
            yield (field.name, None), value
        else:
            yield from (((field.name, key), rules) for key, rules in value.items())


def with_row(table: RuleTable, place: Place, rules: tuple[Callable[..., Any], ...]) -> RuleTable:
    """Return the table with one row replaced."""
    name, key = place
    value: Any = rules if key is None else {**getattr(table, name), key: rules}
    return replace(table, **{name: value})


def row_of(case: AuthCase, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return the place of the row that decides the case."""
    table = RULE_TABLES[case.version]
    seen: list[Place] = []

    def spy(place: Place) -> Callable[..., bool]:
        def note(*_arguments: object) -> bool:
            seen.append(place)
            return True

        return note

    for place, _ in rows(table):
        table = with_row(table, place, (spy(place),))
    with monkeypatch.context() as patch:
        patch.setitem(RULE_TABLES, case.version, table)
        case.outcome()
    return seen[0] if seen else ("auth_events", None)


def notices(case: AuthCase) -> bool:
    """Whether the case has another outcome than its data says; a later rule may stumble where one is missing."""
    try:
        return case.outcome() != case.expected
    except (AttributeError, TypeError):
        return True


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_rule_taken_out_is_noticed(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mutant of a row is caught by a case of that row; the cases that catch none prove their rules elsewhere."""
    table = RULE_TABLES[version]
    by_row: dict[Place, list[AuthCase]] = {}
    for case in auth_cases():
        if case.version == version:
            by_row.setdefault(row_of(case, monkeypatch), []).append(case)
    survivors = []
    for place, rules in rows(table):
        for rule in rules:
            mutant = with_row(table, place, tuple(other for other in rules if other is not rule))
            with monkeypatch.context() as patch:
                patch.setitem(RULE_TABLES, version, mutant)
                if not any(notices(case) for case in by_row.get(place, [])):
                    survivors.append((place, rule.__name__))
    assert survivors == []


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_rule_rejects_and_allows(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule of a version is, in its cases, the reason of a rejection and passed by an event that is allowed."""
    rejecting: set[str] = set()
    passed: set[str] = set()
    allowing: set[str] = set()
    heard: set[str] = set()

    def heard_of(rule: Callable[..., Any]) -> Callable[..., Any]:
        def listen(*arguments: Any) -> Any:
            heard.add(rule.__name__)
            try:
                allowed = rule(*arguments)
            except AuthRejectionError:
                rejecting.add(rule.__name__)
                raise
            if allowed:
                allowing.add(rule.__name__)
            return allowed

        return listen

    table = RULE_TABLES[version]
    every = {rule.__name__ for _, rules in rows(table) for rule in rules}
    for place, rules in rows(table):
        table = with_row(table, place, tuple(heard_of(rule) for rule in rules))
    monkeypatch.setitem(RULE_TABLES, version, table)
    for case in auth_cases():
        if case.version == version:
            heard.clear()
            if case.outcome() is None:
                passed |= heard
    assert every - ONLY_ALLOW - rejecting == set()
    assert every - ALWAYS_REJECT - passed == set()
    assert every & ONLY_ALLOW - allowing == set()


def test_checks_are_built_once() -> None:
    """The mutants are fast because a case's room is built once for all of them."""
    case = auth_cases()[0]
    assert built_check(case) is built_check(case)
