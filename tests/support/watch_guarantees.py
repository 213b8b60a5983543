"""The five guarantees of Watch, one validator for each; a validator raises AssertionError for a stream that breaks it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from partialstate_service.domain.ids import Revision
from partialstate_service.store.protocol import Change


@dataclass
class Stream:
    """What one watcher was sent, from the revision after which it began."""

    after: Revision
    sent: list[Change] = field(default_factory=list)

    @property
    def changes(self) -> list[Revision]:
        """The revisions of its changes, without bookmarks."""
        return [change.token.revision for change in self.sent if change.kind != "bookmark"]

    @property
    def last(self) -> Revision:
        """The revision up to which it has seen everything."""
        return self.sent[-1].token.revision if self.sent else self.after


def is_ordered(stream: Stream) -> None:
    """Changes come in the order in which they were committed, and bookmarks among them."""
    revisions = [change.token.revision for change in stream.sent]
    assert revisions == sorted(revisions)
    assert not stream.changes or stream.changes[0] > stream.after


def is_unique(stream: Stream) -> None:
    """No change comes twice."""
    assert len(set(stream.changes)) == len(stream.changes)


def is_reliable(stream: Stream, log: Sequence[Revision]) -> None:
    """No change between two that came is left out, and none that was not committed comes."""
    if stream.changes:
        first, last = min(stream.changes), max(stream.changes)
        assert set(stream.changes) == {revision for revision in log if first <= revision <= last}


def is_resumable(streams: Sequence[Stream], log: Sequence[Revision]) -> None:
    """Streams that were each begun with the last token of the one before make one stream without gap or repetition."""
    whole = [revision for stream in streams for revision in stream.changes]
    assert whole == [revision for revision in log if streams[0].after < revision <= streams[-1].last]


def is_bookmarkable(stream: Stream, log: Sequence[Revision]) -> None:
    """A bookmark's token says that all up to it has been sent."""
    seen = set[Revision]()
    for change in stream.sent:
        if change.kind == "bookmark":
            assert {revision for revision in log if stream.after < revision <= change.token.revision} <= seen
        else:
            seen.add(change.token.revision)
