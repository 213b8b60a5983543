"""A room's state as an immutable map of which many versions share their memory.

A room with 200,000 members and a thousand timeline events has a thousand states that differ by one entry each. The
states are tries over the hash of the key: a changed state copies one path, and the difference of two states costs what
differs, not what there is.
"""

from collections.abc import ItemsView, Iterator, Mapping
from itertools import chain
from typing import TypeAlias, TypeVar, overload

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import StateKey, StateMap

_T = TypeVar("_T")

_BITS = 5
_WIDTH = 1 << _BITS
_MASK = _WIDTH - 1

_Bucket: TypeAlias = dict[StateKey, EventId]
_Branch: TypeAlias = tuple[_Bucket, ...]
_Limb: TypeAlias = tuple[_Branch, ...]
_Root: TypeAlias = tuple[_Limb, ...]

# Shared by everything empty, and therefore never written to: buckets are replaced, not changed.
_NO_BUCKET: _Bucket = {}
_NO_BRANCH: _Branch = (_NO_BUCKET,) * _WIDTH
_NO_LIMB: _Limb = (_NO_BRANCH,) * _WIDTH
_NO_ROOT: _Root = (_NO_LIMB,) * _WIDTH


class SharedState(Mapping[StateKey, EventId]):
    """An immutable state map; `with_changes` makes another that shares all it can."""

    __slots__ = ("_length", "_root")

    def __init__(self, root: _Root = _NO_ROOT, length: int = 0) -> None:
        """Use `SharedState.of` or `SharedState()` (the empty state)."""
        self._root = root
        self._length = length

    @classmethod
    def of(cls, state: StateMap) -> "SharedState":
        """Return *state* as a shared state: itself if it is one, else a copy in linear time."""
        if isinstance(state, cls):
            return state
        building = StateBuilder()
        for key, event_id in state.items():
            building.add(key, event_id)
        return building.state()

    def with_changes(self, changes: Mapping[StateKey, EventId | None]) -> "SharedState":
        """Return this state with the entries of *changes*; None removes the entry."""
        if not changes:
            return self
        by_limb: dict[int, dict[int, dict[int, list[StateKey]]]] = {}
        for key in changes:
            place = hash(key)
            branches = by_limb.setdefault(place & _MASK, {})
            buckets = branches.setdefault(place >> _BITS & _MASK, {})
            buckets.setdefault(place >> 2 * _BITS & _MASK, []).append(key)
        root, length = list(self._root), self._length
        for i, branches in by_limb.items():
            limb = list(root[i])
            for j, buckets in branches.items():
                branch = list(limb[j])
                for k, keys in buckets.items():
                    bucket = branch[k].copy()
                    length -= len(bucket)
                    _update(bucket, keys, changes)
                    length += len(bucket)
                    branch[k] = bucket
                limb[j] = tuple(branch)
            root[i] = tuple(limb)
        return SharedState(tuple(root), length)

    def differing_keys(self, other: StateMap) -> set[StateKey]:
        """Return the keys whose entries differ, an absent entry differing from every present one.

        The cost is that of the differences where *other* shares memory with this state, else linear.
        """
        if not isinstance(other, SharedState):
            return {key for key, _ in self.to_dict().items() ^ other.items()}
        found: set[StateKey] = set()
        for mine, theirs in self._unlike_buckets(other):
            found.update(key for key, _ in mine.items() ^ theirs.items())
        return found

    def to_dict(self) -> dict[StateKey, EventId]:
        """Return the entries as a dict of their own."""
        entries: dict[StateKey, EventId] = {}
        for bucket in self._buckets():
            entries.update(bucket)
        return entries

    def items(self) -> ItemsView[StateKey, EventId]:
        """Return the entries, without looking each of them up."""
        return _Entries(self)

    def _buckets(self) -> Iterator[_Bucket]:
        limbs = (limb for limb in self._root if limb is not _NO_LIMB)
        return chain.from_iterable(branch for limb in limbs for branch in limb if branch is not _NO_BRANCH)

    def _unlike_buckets(self, other: "SharedState") -> Iterator[tuple[_Bucket, _Bucket]]:
        """Yield the pairs of buckets at the same place that are not the same object."""
        for limb, other_limb in zip(self._root, other._root, strict=True):  # noqa: SLF001 - its own class
            if limb is other_limb:
                continue
            for branch, other_branch in zip(limb, other_limb, strict=True):
                if branch is other_branch:
                    continue
                for bucket, other_bucket in zip(branch, other_branch, strict=True):
                    if bucket is not other_bucket:
                        yield bucket, other_bucket

    def _bucket(self, key: object) -> _Bucket:
        place = hash(key)
        return self._root[place & _MASK][place >> _BITS & _MASK][place >> 2 * _BITS & _MASK]

    def __getitem__(self, key: StateKey) -> EventId:
        return self._bucket(key)[key]

    @overload
    def get(self, key: StateKey, /) -> EventId | None: ...
    @overload
    def get(self, key: StateKey, /, default: _T) -> EventId | _T: ...
    def get(self, key: StateKey, /, default: _T | None = None) -> EventId | _T | None:
        """Return the entry at *key*; as with every mapping, but without the cost of an exception."""
        return self._bucket(key).get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._bucket(key)

    def __iter__(self) -> Iterator[StateKey]:
        return chain.from_iterable(self._buckets())

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SharedState):
            same_length = self._length == other._length
            return same_length and all(mine == theirs for mine, theirs in self._unlike_buckets(other))
        return self.to_dict() == other

    __hash__ = None  # type: ignore[assignment]  # equal to dicts, which have no hash either


class StateBuilder:
    """Builds a `SharedState` entry by entry, in little more memory than the state itself takes."""

    def __init__(self) -> None:
        self._buckets: list[_Bucket] = [_NO_BUCKET] * _WIDTH**3
        self._length = 0

    def add(self, key: StateKey, event_id: EventId) -> EventId:
        """Add an entry unless there is one for *key* already; return what the state has at *key* then."""
        place = hash(key)
        # In the order of the branches, so that a slice of this list is one.
        at = ((place & _MASK) << _BITS | place >> _BITS & _MASK) << _BITS | place >> 2 * _BITS & _MASK
        bucket = self._buckets[at]
        if bucket is _NO_BUCKET:
            self._buckets[at] = {key: event_id}
        elif key in bucket:
            return bucket[key]
        else:
            bucket[key] = event_id
        self._length += 1
        return event_id

    def state(self) -> SharedState:
        """Return the state. Nothing may be added afterwards."""
        limbs = []
        for i in range(0, _WIDTH**3, _WIDTH**2):
            branches = [tuple(self._buckets[j : j + _WIDTH]) for j in range(i, i + _WIDTH**2, _WIDTH)]
            shared = [_NO_BRANCH if branch == _NO_BRANCH else branch for branch in branches]
            limbs.append(_NO_LIMB if all(branch is _NO_BRANCH for branch in shared) else tuple(shared))
        return SharedState(tuple(limbs), self._length)


class _Entries(ItemsView[StateKey, EventId]):
    """The entries of a `SharedState`."""

    _mapping: SharedState

    def __iter__(self) -> Iterator[tuple[StateKey, EventId]]:
        buckets = self._mapping._buckets()  # noqa: SLF001 - a part of the class
        return chain.from_iterable(map(dict.items, buckets))


def differing_keys(left: StateMap, right: StateMap) -> set[StateKey]:
    """Return the keys whose entries differ between two state maps of any kind."""
    if left is right:
        return set()
    if isinstance(left, SharedState):
        return left.differing_keys(right)
    if isinstance(right, SharedState):
        return right.differing_keys(left)
    return {key for key, _ in left.items() ^ right.items()}


def _update(bucket: _Bucket, keys: list[StateKey], changes: Mapping[StateKey, EventId | None]) -> None:
    for key in keys:
        value = changes[key]
        if value is None:
            bucket.pop(key, None)
        else:
            bucket[key] = value
