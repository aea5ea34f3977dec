"""The HTML page: what is on it, that nothing from outside becomes markup, and that it needs nothing but itself."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import pytest
from conftest import World, segment, tone

from duplexforge import __version__
from duplexforge.config import StoreSettings
from duplexforge.errors import ConfigError
from duplexforge.records import Hours
from duplexforge.status import report
from duplexforge.status.collect import collect
from duplexforge.status.measures import Measures
from duplexforge.status.report import Sample
from duplexforge.status.snapshot import HoursAccount, Snapshot
from duplexforge.storage import open_store

VOID = {"meta", "br", "img", "input", "link", "hr"}
HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e$\\frac{1}{2}$"
PLOTS = ["Hours by class", "Seconds per stage", "Segment duration", "DNSMOS", "Hours by speaker", "Flags"]


class Page(HTMLParser):
    """Reads a page, checks that every element is closed, and keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def world() -> World:
    """The page does not depend on the kind of store, so one kind is enough."""
    return World(open_store(StoreSettings(store_url="memory://")))


@pytest.fixture
def page(full: World, tmp_path: Path) -> Page:
    path = tmp_path / "deep" / "report.html"
    report.build(full.store, full.layout, full.queues, path, title="Voices of the river")
    return Page(path.read_text("utf-8"))


def empty() -> Snapshot:
    return Snapshot("2026-01-01T00:00:00+00:00", {}, (), HoursAccount(), (), ())


def test_the_headline_numbers_and_tables(page: Page) -> None:
    text = page.text
    for words in (
        "Voices of the river",
        "11 episodes asked for, 2 ok",
        "10:30:00 hours of source audio",
        "2:00:00 hours of unflagged speech, 19.0%",
        "3 segments, 2 of them flagged",
        "12 words in 2 segments with text",
        "2.67 mean DNSMOS OVRL",
        "Everything is accounted for: 11 episodes and 10:30:00 hours add up.",
        "waiting: processing 3 3:29:56 1",
        "all inputs 11 10:30:00 4",
        "flagged speech 0:30:00 4.8%",
        "gone 2 yt-gone the video is private",
        "First <b>talk</b> yt-one en ok 2:00:00 2 1 2",
        "yt-nolength en waiting: processing unknown",
        "somebody/voices 1 3 1 2.5 MB commit000001",
        "not published yet 1",
        "transcribe whisper 3",
        "download 1 0 5 2",
        "Without a score: 1 segment.",
        f"duplexforge {__version__}",
    ):
        assert words in text


def test_the_plots(page: Page) -> None:
    drawings = page.all("svg")
    assert [one["aria-label"] for one in drawings] == PLOTS
    assert all(one["viewbox"] and "width" not in one and "height" not in one for one in drawings)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for words in ("unflagged speech", "2:00:00 · 19.0%", "yt-one/S00", "low_mos", "2 · 66.7%", "24.0 s · 75.0%"):
        assert words in page.text


def test_references_inside_a_plot_lead_somewhere(full: World, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.build(full.store, full.layout, full.queues, path)
    text = path.read_text("utf-8")
    wanted = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert wanted
    assert wanted <= set(re.findall(r'\bid="([^"]+)"', text))


def test_ink_follows_the_colour_scheme(full: World, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.build(full.store, full.layout, full.queues, path)
    text = path.read_text("utf-8")
    assert "prefers-color-scheme: dark" in text
    assert "fill: var(--ink)" in text
    assert "#010203" not in text
    assert "#040506" not in text


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "img", "object", "base")
        assert not any(name.startswith("on") for name in attributes)
        if "src" in attributes:
            assert (attributes["src"] or "").startswith("data:audio/")
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy or "")
    assert "script-src" not in (policy or "")


def test_samples_play(page: Page) -> None:
    players = page.all("audio")
    assert len(players) == 3
    for one in players:
        kind, _, body = (one["src"] or "").partition(",")
        assert kind == "data:audio/mpeg;base64"
        with av.open(io.BytesIO(base64.b64decode(body, validate=True))) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) >= 12000
    assert "so this is what was said" in page.text
    assert "yt-one/S01 · 4.0 s · en · DNSMOS 2.10 low_mos" in page.text
    assert "pod-two/S00 · 31.5 s · de · DNSMOS not scored" in page.text


def test_ten_samples_are_enough(world: World, tmp_path: Path) -> None:
    world.whole("yt-one", Hours(source=1.0, published=1.0), [segment("yt-one", index) for index in range(30)])
    path = tmp_path / "report.html"
    report.build(world.store, world.layout, world.queues, path)
    assert len(Page(path.read_text("utf-8")).all("audio")) == 10


def test_a_sample_must_be_the_file_that_the_manifest_names(world: World, tmp_path: Path) -> None:
    """Audio with another checksum, audio that no manifest names, and audio that is gone are not embedded."""
    kept = segment("yt-one", 0)
    changed = segment("yt-one", 1, sha256="f" * 64)
    gone = segment("yt-one", 2)
    world.whole("yt-one", Hours(source=1.0, published=1.0), [kept, changed, gone])
    folder = world.layout.attempt("en", "yt-one", "a1-0badcafe")
    world.store.delete(folder + str(gone["audio"]))
    foreign = segment("yt-one", 3, audio="../../../raw_audio/en/web/secret.mp3")
    world.store.put("raw_audio/en/web/secret.mp3", tone())
    world.store.put(folder + "all_segments.json", json.dumps([kept, changed, gone, foreign]).encode())
    path = tmp_path / "report.html"
    report.build(world.store, world.layout, world.queues, path)
    page = Page(path.read_text("utf-8"))
    assert len(page.all("audio")) == 1
    assert "The plots show 4 segments, the manifests counted 3." in page.text


@pytest.mark.parametrize("body", [b"{", b'{"segments": []}', b"[1, null]", b"\xff\xfe"])
def test_damaged_segments_are_named(world: World, tmp_path: Path, body: bytes) -> None:
    world.whole("yt-one", Hours(source=1.0, published=1.0), [segment("yt-one", 0)])
    key = world.layout.attempt("en", "yt-one", "a1-0badcafe") + "all_segments.json"
    world.store.put(key, body)
    path = tmp_path / "report.html"
    report.build(world.store, world.layout, world.queues, path)
    text = Page(path.read_text("utf-8")).text
    assert "The plots show 0 segments, the manifests counted 1." in text
    assert (f"A list of segments cannot be read: {key}" in text) == (body != b"[1, null]")


def test_missing_segments_are_named(world: World, tmp_path: Path) -> None:
    world.whole("yt-one", Hours(source=1.0, published=1.0), [segment("yt-one", 0)])
    key = world.layout.attempt("en", "yt-one", "a1-0badcafe") + "all_segments.json"
    world.store.delete(key)
    path = tmp_path / "report.html"
    report.build(world.store, world.layout, world.queues, path)
    assert f"A committed file is missing: {key}" in Page(path.read_text("utf-8")).text


def test_what_does_not_add_up_is_on_the_page(world: World, tmp_path: Path) -> None:
    world.seed("yt-lost")
    world.end("download")
    path = tmp_path / "report.html"
    snapshot = report.build(world.store, world.layout, world.queues, path)
    assert not snapshot.accounted
    text = Page(path.read_text("utf-8")).text
    assert "Not everything is accounted for." in text
    assert "The download is said to be completed, but there is no raw record (1): yt-lost" in text


def test_hostile_texts_are_shown_as_texts(world: World, tmp_path: Path) -> None:
    hostile = segment("yt-one", 0, text=HOSTILE, speaker=HOSTILE, flags=[HOSTILE], language=HOSTILE, segment_id=HOSTILE)
    world.whole(
        "yt-one",
        Hours(source=1.0, published=1.0),
        [hostile],
        title=HOSTILE,
        url="javascript:alert(3)",
        models={HOSTILE: HOSTILE},
        facts={"engines": {HOSTILE: HOSTILE}},
        seconds={HOSTILE: 1.0},
    )
    world.fail("download", "yt-two", HOSTILE, reason=HOSTILE, title=HOSTILE, url="https://example.org/?a=1&b=<2>")
    world.publish("000001", ["yt-one"], target=HOSTILE, commit=HOSTILE)
    path = tmp_path / "report.html"
    report.build(world.store, world.layout, world.queues, path, title=HOSTILE)
    page = Page(path.read_text("utf-8"))
    assert page.all("script") == page.all("img") == []
    assert page.text.count("</td><script>alert(1)</script>") >= 10
    assert [one["href"] for one in page.all("a")] == ["https://example.org/?a=1&b=<2>"]
    assert all(one["rel"] == "noopener noreferrer nofollow" for one in page.all("a"))


def test_half_a_surrogate_pair_and_other_scripts(world: World, tmp_path: Path) -> None:
    odd = segment("yt-one", 0, text="half \ud83d", speaker="猫と暮らす話者の長い名前がここに入りますよね/S00")
    world.whole("yt-one", Hours(source=1.0, published=1.0), [odd], title="猫と暮らす")
    path = tmp_path / "report.html"
    report.build(world.store, world.layout, world.queues, path)
    text = Page(path.read_text("utf-8")).text
    assert "half ?" in text
    assert "猫と暮らす" in text


def test_the_same_input_gives_the_same_bytes(full: World, tmp_path: Path) -> None:
    snapshot = collect(full.store, full.layout, full.queues)
    segments = [segment("a", index, dnsmos=1 + index / 10) for index in range(40)]
    for name in ("one.html", "two.html"):
        report.write(snapshot, iter(segments), tmp_path / name, title="T", samples=[Sample(segments[0], tone())])
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.html*")) == ["one.html", "two.html"]


def test_an_empty_world_has_a_page(world: World, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.build(world.store, world.layout, world.queues, path)
    page = Page(path.read_text("utf-8"))
    assert page.all("svg") == []
    for words in ("There are no segments.", "There are no segments to listen to.", "None yet.", "0 episodes asked for"):
        assert words in page.text


def test_missing_scores_are_said(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(empty(), [segment("a", 0, dnsmos=None), segment("a", 1, dnsmos=None)], path, title="T")
    page = Page(path.read_text("utf-8"))
    assert "None of the 2 segments has a score" in page.text
    assert "DNSMOS: nothing was scored" in page.text
    assert "DNSMOS" not in [one["aria-label"] for one in page.all("svg")]


def test_many_speakers_are_cut_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(empty(), [segment("a", 0, speaker=f"a/S{index:02d}") for index in range(40)], path, title="T")
    text = Page(path.read_text("utf-8")).text
    assert "The 12 who speak most, of 40." in text
    assert "a/S11" in text
    assert "a/S12" not in text


def test_a_listing_that_was_cut_says_so(full: World, tmp_path: Path) -> None:
    from dataclasses import replace

    snapshot = collect(full.store, full.layout, full.queues)
    path = tmp_path / "report.html"
    report.write(replace(snapshot, episodes=snapshot.episodes[:4]), [], path, title="T")
    assert "4 of 11 are listed: the first 500 of each outcome." in Page(path.read_text("utf-8")).text


def test_a_sample_with_nothing_but_audio(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(empty(), [], path, title="T", samples=[Sample({}, tone())])
    assert "(no text)" in (text := Page(path.read_text("utf-8")).text)
    assert "unknown · 0.0 s · unknown · DNSMOS not scored no flag" in text


def test_remarks_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(empty(), [], path, title="T", remarks=["a <remark>"])
    assert "a <remark>" in Page(path.read_text("utf-8")).text


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == "matplotlib" else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(ConfigError, match=r"needs matplotlib: pip install 'duplexforge\[report\]'"):
        report.render(empty(), Measures(), title="T")


def test_a_failed_write_leaves_the_old_page(full: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr(report, "_plots", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.build(full.store, full.layout, full.queues, path)
    assert path.read_text() == "old"


def test_the_library_defaults_are_left_alone(full: World, tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    report.build(full.store, full.layout, full.queues, tmp_path / "report.html")
    assert dict(matplotlib.rcParams) == before


def test_status_starts_without_the_plotting_libraries() -> None:
    program = (
        "import sys, duplexforge.status.report, duplexforge.status.table, duplexforge.status.collect\n"
        "print(sorted({'matplotlib', 'jinja2', 'numpy', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
