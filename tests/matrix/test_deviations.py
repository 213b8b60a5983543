"""The list of deviations and the cases that prove them belong together."""

import re
from importlib.resources import files

import pytest
from partialstate_service.matrix import event_auth
from support.auth_cases import auth_cases

DOCUMENT = (files("partialstate_service.matrix") / "DEVIATIONS.md").read_text("utf-8")


def headings(part: str) -> list[str]:
    """Return the section titles of one part of the document."""
    (text,) = re.findall(rf"^## {part}\n(.*?)(?=^## |\Z)", DOCUMENT, re.DOTALL | re.MULTILINE)
    return re.findall(r"^### (.+)$", text, re.MULTILINE)


def test_every_deviation_of_event_authorisation_has_a_case() -> None:
    """No section is without a proof, no case without its explanation."""
    named = {case.row["deviation"] for case in auth_cases() if "deviation" in case.row}
    assert named == set(headings("Event authorisation"))


def test_every_rule_of_a_number_dash_is_explained() -> None:
    """A rule that the specification does not have is the outcome of a case of some deviation."""
    unwritten = {rule for rule in event_auth.AuthRule if rule.number == "-"}
    explained = {case.expected for case in auth_cases() if "deviation" in case.row}
    assert unwritten <= explained


def test_the_functions_that_it_names_exist() -> None:
    """The document keeps up with renamed rules."""
    rules = {
        rule.__name__
        for table in event_auth.RULE_TABLES.values()
        for row in (*table.by_type.values(), *table.by_membership.values(), table.auth_events)
        for rule in row
    }
    named = re.findall(r"`([a-z]+(?:_[a-z]+){2,})`", " ".join(re.findall(r"Rules?:[^.]*\.", DOCUMENT)))
    assert named
    assert set(named) <= rules


@pytest.mark.parametrize("part", ["Event authorisation", "State resolution", "Formats"])
def test_titles_are_unique(part: str) -> None:
    """A section can be named by its title."""
    assert len(set(headings(part))) == len(headings(part))
