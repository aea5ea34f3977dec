"""The set of ids on disk behaves as a set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from duplexforge.idset import IdSet

NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=30)


@given(first=NAMES, more=NAMES, gone=NAMES)
def test_it_is_a_set(first: list[str], more: list[str], gone: list[str]) -> None:
    wanted = set(first)
    with IdSet(first) as ids:
        for name in more:
            assert ids.add(name) is (name not in wanted)
            wanted.add(name)
        ids.discard(gone)
        wanted -= set(gone)
        assert len(ids) == len(wanted)
        assert list(ids) == sorted(wanted, key=str.encode)
        assert ids.known([*gone, *more]) == wanted & {*gone, *more}
        assert all((name in ids) is (name in wanted) for name in [*first, *more, *gone])


def test_many_ids_are_asked_for_at_once() -> None:
    with IdSet(f"yt-{number}" for number in range(0, 5000, 2)) as ids:
        assert len(ids.known(f"yt-{number}" for number in range(5000))) == 2500
