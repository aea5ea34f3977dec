"""What a worker knows of leases when a listing and its own doings overlap."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from duplexforge.layout import Layout
from duplexforge.queues.view import LeaseView
from duplexforge.storage import Page, Store

KEYS = Layout()
NAMES = st.sampled_from("abcdef")


class OverlappingStore(Store):
    """A memory store in which something happens after the listing was made, and before it is told."""

    def __init__(self) -> None:
        super().__init__("memory://", MemoryStore())
        self.view = LeaseView(self, KEYS, "processing", 600.0)
        self.meanwhile: dict[str, int] = {}

    def pages(self, prefix: str, *, after: str | None = None) -> Iterator[Page]:
        found = list(super().pages(prefix, after=after))
        for name, attempt in self.meanwhile.items():
            self.view.taken(name, attempt, self.now())
        yield from found

    def lease(self, name: str, attempt: int) -> None:
        """A lease that the listing shows."""
        self.put(KEYS.lease("processing", name, attempt), b"{}")


def test_a_view_is_empty_until_a_lease_is_met() -> None:
    store = OverlappingStore()
    assert store.view.empty
    store.view.refresh()
    assert store.view.empty
    store.view.taken("a", 1, 0.0)
    assert not store.view.empty


@given(
    before=st.dictionaries(NAMES, st.integers(1, 3)),
    listed=st.dictionaries(NAMES, st.integers(1, 3)),
    meanwhile=st.dictionaries(NAMES, st.integers(1, 3)),
)
def test_a_listing_replaces_what_was_known_before_it_and_not_what_was_learned_meanwhile(
    before: dict[str, int], listed: dict[str, int], meanwhile: dict[str, int]
) -> None:
    store = OverlappingStore()
    for name, attempt in before.items():
        store.view.taken(name, attempt, 0.0)
    for name, attempt in listed.items():
        store.lease(name, attempt)
    store.meanwhile = meanwhile
    store.view.refresh()
    wanted = {name: max(listed.get(name, 0), meanwhile.get(name, 0)) for name in listed.keys() | meanwhile.keys()}
    assert {name: store.view.attempts(name) for name in store.view.ids()} == wanted


def test_the_listing_tells_a_lease_that_others_wrote_better_than_we_do() -> None:
    store = OverlappingStore()
    store.lease("a", 1)
    store.meanwhile = {"a": 1}
    store.view.refresh()
    # Its tag came with the listing, so its record is read once and no more.
    store.view.running("a", store.now())
    assert store.view.has_read("a")


def test_a_lost_claim_does_not_make_an_old_lease_young() -> None:
    store = OverlappingStore()
    store.lease("a", 2)
    store.view.refresh()
    store.view.taken("a", 2, store.now() + 1000)
    assert store.view.fresh("a", store.now() + 500)
    assert not store.view.fresh("a", store.now() + 1000)
