"""Server ACLs: the specification's rules, and that no list of globs takes more than linear time."""

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.domain.acl import GlobSet, parse_server_acl
from partialstate_service.domain.ids import ServerName

# Client-server API, "Server Access Control Lists (ACLs) for rooms".
RULES = [
    ("nobody is allowed by default", {}, "a.example", True),
    ("an empty allow list allows nobody", {"allow": []}, "a.example", True),
    ("a malformed allow allows nobody", {"allow": "*"}, "a.example", True),
    ("entries that are not strings are ignored", {"allow": [1, None, "*"]}, "a.example", False),
    ("a malformed deny denies nobody", {"allow": ["*"], "deny": {"a.example": 1}}, "a.example", False),
    ("deny comes before allow", {"allow": ["a.example"], "deny": ["a.example"]}, "a.example", True),
    ("what is not allowed is denied", {"allow": ["b.example"]}, "a.example", True),
    ("a star matches any run", {"allow": ["*"], "deny": ["*.evil.example"]}, "x.y.evil.example", True),
    ("a star matches the empty run", {"allow": ["a*.example"]}, "a.example", False),
    ("a star needs its literals", {"allow": ["*"], "deny": ["*.evil.example"]}, "evil.example", False),
    ("the whole name must match", {"allow": ["*"], "deny": ["evil"]}, "evil.example", False),
    ("a question mark matches one", {"allow": ["?.example"]}, "a.example", False),
    ("a question mark matches no more than one", {"allow": ["?.example"]}, "ab.example", True),
    ("a question mark matches no less than one", {"allow": ["?.example"]}, ".example", True),
    ("all else is literal", {"allow": ["[ab].example", "a+.example", "a|b"]}, "a.example", True),
    ("a dot is literal", {"allow": ["a.example"]}, "axexample", True),
    ("ports do not count", {"allow": ["a.example"]}, "a.example:8448", False),
    ("a pattern with a port matches nothing", {"allow": ["a.example:8448"]}, "a.example:8448", True),
    ("the case does not count", {"allow": ["A.Example"]}, "a.eXample", False),
    ("addresses are allowed by default", {"allow": ["*"]}, "192.0.2.1", False),
    ("IPv4 is denied by false", {"allow": ["*"], "allow_ip_literals": False}, "192.0.2.1:8448", True),
    ("IPv6 is denied by false", {"allow": ["*"], "allow_ip_literals": False}, "[2001:db8::1]", True),
    (
        "IPv6 with port is denied by false",
        {"allow": ["*"], "allow_ip_literals": False},
        "[2001:db8::1]:8448",
        True,
    ),
    ("names are not addresses", {"allow": ["*"], "allow_ip_literals": False}, "1.2.3.example", False),
    ("exactly false is needed", {"allow": ["*"], "allow_ip_literals": 0}, "192.0.2.1", False),
    (
        "IPv6 is matched in its brackets",
        {"allow": ["*"], "deny": ["[2001:db8::*]"]},
        "[2001:db8::1]:443",
        True,
    ),
    (
        "an IPv6 address keeps its last group",
        {"allow": ["*"], "deny": ["[2001:db8:]"]},
        "[2001:db8::1]",
        False,
    ),
    ("a pattern beyond any name is skipped", {"allow": ["*", "a?" * 200]}, "a.example", False),
    ("a pattern that is no server name matches nothing", {"allow": ["é*"]}, "a.example", True),
]


@pytest.mark.parametrize(("content", "server", "denied"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
def test_rule(content: dict[str, object], server: str, denied: bool) -> None:  # noqa: FBT001 - the expected value of a table row
    """Each rule of the specification holds."""
    assert parse_server_acl(content).denies(ServerName(server)) is denied


_NAMES = st.text("ab.-1", min_size=1, max_size=12)
_GLOBS = st.lists(st.text("ab.*?", max_size=8), max_size=6)


@given(_GLOBS, _NAMES)
def test_globs_match_as_fnmatch_does(globs: list[str], name: str) -> None:
    """The automaton agrees with the standard library, pattern by pattern, however many there are."""
    assert GlobSet(globs).matches(name) == any(fnmatch.fnmatchcase(name, glob) for glob in globs)


@given(
    st.dictionaries(
        st.sampled_from(["allow", "deny", "allow_ip_literals"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text("a*?.", max_size=5),
            lambda inner: st.lists(inner, max_size=3),
        ),
    )
)
def test_any_content_is_survived(content: dict[str, object]) -> None:
    """Whatever a room's moderators write, there is an answer."""
    assert parse_server_acl(content).denies(ServerName("a.example")) in {True, False}


def test_hostile_patterns_take_no_time() -> None:
    """A full event of patterns that make a backtracking matcher explode is matched in milliseconds."""
    acl = parse_server_acl({"allow": ["*"], "deny": [("*a" * 120) + f"?{i}" for i in range(260)]})
    name = ServerName("a" * 255)
    start = time.process_time()
    assert acl.denies(name) is False
    assert time.process_time() - start < 0.25
