"""JSON texts in every spelling: with white space, any escapes, any order, and with keys that repeat."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class ObjectText:
    """An object as a list of pairs, so that keys can repeat."""

    pairs: tuple[tuple[str, Any], ...]


# Quotation marks, backslashes and colons are what a scanner stumbles over.
_CHARACTERS = st.sampled_from('"\\:,{}[]u0a2é日\U0001f600\n\x00/') | st.characters(exclude_categories=["Cs"])
_STRINGS = st.text(_CHARACTERS, max_size=4)
_KEYS = st.sampled_from(["a", "b", '"', "", "\\u0022"]) | _STRINGS
_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _STRINGS
)
_SPACE = st.sampled_from(["", "", " ", "\n\t\r "])


def trees() -> st.SearchStrategy[Any]:
    """Return a strategy of values in which objects are `ObjectText`."""
    return st.recursive(
        _SCALARS,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(st.tuples(_KEYS, inner), max_size=4).map(lambda pairs: ObjectText(tuple(pairs)))
        ),
        max_leaves=12,
    )


def has_repeated_key(tree: Any) -> bool:
    """Whether an object in *tree* has a key twice."""
    if isinstance(tree, ObjectText):
        keys = [key for key, _ in tree.pairs]
        return len(set(keys)) != len(keys) or any(has_repeated_key(value) for _, value in tree.pairs)
    return isinstance(tree, list) and any(map(has_repeated_key, tree))


def rendered(tree: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """Return one JSON text of *tree*, spelled as *draw* chooses."""
    space = draw(_SPACE)
    if isinstance(tree, ObjectText):
        pairs = (
            f"{_string(key, draw)}{space}:{space}{rendered(value, draw).decode()}"
            for key, value in tree.pairs
        )
        text = "{" + f"{space},".join(pairs) + "}"
    elif isinstance(tree, list):
        text = "[" + f"{space},".join(rendered(item, draw).decode() for item in tree) + "]"
    elif isinstance(tree, str):
        text = _string(tree, draw)
    else:
        text = json.dumps(tree)
    return f"{space}{text}{space}".encode()


def _string(text: str, draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    style = draw(st.sampled_from(["raw", "ascii", "escaped"]))
    if style == "escaped":
        units = text.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)) + '"'
    return json.dumps(text, ensure_ascii=style == "ascii")
