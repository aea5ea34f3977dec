"""Search: the results that fit, as many as wanted, in a shape that seeding takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from duplexforge.config import DownloadSettings
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.plan import seed
from duplexforge.downloading.search import Query, chosen, search, to_text
from duplexforge.errors import UsageError
from tests.unit.downloading.conftest import Place
from tests.unit.downloading.recorded import Pages, video
from tests.unit.downloading.test_listing import reading

RESULTS = [
    video(1),
    video(2, duration=None, live_status="is_live"),
    video(3),
    video(3),
    video(5, duration=None),
    video(7),
]


def test_lengths_choose_and_everything_is_counted() -> None:
    notes = SeedReport()
    found = list(chosen(iter(RESULTS), Query("x", shortest=120, longest=300), notes))
    assert [entry["title"] for entry in found] == ["Talk 3"]
    assert notes.left_out == {"too_short": 1, "length_not_stated": 2, "too_long": 1}


def test_without_bounds_a_length_may_be_missing() -> None:
    notes = SeedReport()
    assert len(list(chosen(iter(RESULTS), Query("x"), notes))) == 5
    assert notes.left_out == {}


def test_enough_is_enough(tmp_path: Path) -> None:
    query = Query("two  words", most=3)
    pages = Pages({query.address(): [video(number) for number in range(1000)]})
    notes = SeedReport()
    with reading(tmp_path, pages, query.address(), notes) as found:
        assert len(list(chosen(found, query, notes))) == 3
    assert pages.read == 3
    assert query.address() == "ytsearch60:two words"


@pytest.mark.parametrize("query", [Query("  "), Query("x", shortest=2, longest=1)])
def test_a_query_that_finds_nothing_is_said_so(query: Query) -> None:
    with pytest.raises(UsageError):
        search(query, DownloadSettings(), SeedReport())


def test_the_results_are_a_source(place: Place, tmp_path: Path) -> None:
    notes = SeedReport()
    found = list(chosen(iter(RESULTS), Query("x"), notes))
    (tmp_path / "results.json").write_text(json.dumps(found))
    report = seed(place.queue, [str(tmp_path / "results.json")])
    assert (report.found, report.added) == (5, 5)
    lease = place.queue.claim()
    assert lease is not None
    task = lease.task
    assert (task.episode_id, task.uploader) == (f"yt-{task.video_id}", "Someone")
    lease.release()


def test_text_is_a_line_each() -> None:
    found = list(chosen([video(1, title="A\nB"), video(70), video(5, duration=None)], Query("x"), SeedReport()))
    assert to_text(found).splitlines() == [
        "    1:00  https://www.youtube.com/watch?v=00000000001  A B",
        " 1:10:00  https://www.youtube.com/watch?v=00000000070  Talk 70",
        "       ?  https://www.youtube.com/watch?v=00000000005  Talk 5",
    ]
