"""Every case of the data gives the rule that it names, or none."""

import pytest
from partialstate_service.matrix.event_auth import AuthRule
from support.auth_cases import auth_cases


@pytest.mark.parametrize("topic", sorted({case.topic for case in auth_cases()}))
def test_the_cases_of_a_topic(topic: str) -> None:
    """An event is rejected by exactly the rule that its case names, in every room version of the case."""
    wrong = {
        str(case): (case.expected, found)
        for case in auth_cases()
        if case.topic == topic and (found := case.outcome()) != case.expected
    }
    assert wrong == {}


def test_every_rule_rejects_something() -> None:
    """No rule is without a case that it rejects."""
    assert {case.expected for case in auth_cases()} == {None, *AuthRule}


def test_case_names_are_unique() -> None:
    """A failing case can be found by its name."""
    names = [str(case) for case in auth_cases()]
    assert len(set(names)) == len(names)
