"""The HTML report: one file that needs nothing else, to open in a browser, to mail, or to keep beside a data set.

Everything from outside is escaped by the template engine, the page's own policy forbids scripts and network, and links
go only to http and https addresses. The same snapshot, segments and samples give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplexforge import __version__
from duplexforge.errors import ConfigError
from duplexforge.layout import Layout
from duplexforge.queues.base import TaskQueue
from duplexforge.records import Manifest
from duplexforge.status import plots, wording
from duplexforge.status.collect import ROWS, collect
from duplexforge.status.measures import Draw, Measures, flags_of, length_of, number
from duplexforge.status.reading import Differences, Reader
from duplexforge.status.snapshot import Snapshot
from duplexforge.storage import Store

if TYPE_CHECKING:
    from jinja2 import Template

SAMPLES = 10
"""Segments to listen to."""

SEGMENTS_FILE = "all_segments.json"
# Two minutes at the usual bit rate: a longer one would make the page heavy and is no segment of this pipeline.
_SAMPLE_BYTES = 1_500_000
_MIME = {"mp3": "audio/mpeg", "flac": "audio/flac", "wav": "audio/wav", "ogg": "audio/ogg", "opus": "audio/ogg"}


@dataclass(frozen=True)
class Sample:
    """A segment to listen to: its ``all_segments.json`` entry and the bytes of its audio file."""

    segment: Mapping[str, Any]
    audio: bytes
    mime: str = "audio/mpeg"

    @property
    def address(self) -> str:
        """The audio as a ``data:`` address."""
        return f"data:{self.mime};base64,{base64.b64encode(self.audio).decode()}"

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return length_of(self.segment)

    @property
    def dnsmos(self) -> float | None:
        """DNSMOS P.835 OVRL, None when it was not scored."""
        return number(self.segment.get("dnsmos"))

    @property
    def flags(self) -> list[str]:
        """Why a strict filter would drop it; empty for a kept segment."""
        return flags_of(self.segment)


def build(
    store: Store, layout: Layout, queues: Mapping[str, TaskQueue[Any]], path: Path, *, title: str = "Speech data"
) -> Snapshot:
    """Collect everything, read the segments of every committed episode and write the page; returns the snapshot."""
    snapshot = collect(store, layout, queues)
    differences, draw = Differences(), Draw(SAMPLES)
    reader = Reader(store, layout, differences)
    measures = Measures.of(_segments(reader, draw, differences))
    remarks = [f"{one.what}: {', '.join(one.examples)}" for one in differences.all()]
    if measures.segments != snapshot.segments:
        shown = wording.plural(measures.segments, "segment")
        remarks.append(f"The plots show {shown}, the manifests counted {snapshot.segments:,}.")
    page = render(snapshot, measures, title=title, samples=list(_samples(store, draw)), remarks=remarks)
    _write(page, path)
    return snapshot


def write(
    snapshot: Snapshot,
    segments: Iterable[Mapping[str, Any]],
    path: Path,
    *,
    title: str,
    samples: Sequence[Sample] = (),
    remarks: Sequence[str] = (),
) -> None:
    """Write the page about ``snapshot`` and ``segments`` (read once, as a stream) to ``path``, whole or not at all."""
    _write(render(snapshot, Measures.of(segments), title=title, samples=samples, remarks=remarks), path)


def render(
    snapshot: Snapshot,
    measures: Measures,
    *,
    title: str,
    samples: Sequence[Sample] = (),
    remarks: Sequence[str] = (),
) -> str:
    """The page as text. ConfigError when the packages that draw it are not installed."""
    template = _template()
    from markupsafe import Markup

    drawn = {name: Markup(svg) if svg else None for name, svg in _plots(snapshot, measures).items()}  # noqa: S704  # ours
    return template.render(
        title=title,
        snapshot=snapshot,
        measures=measures,
        samples=samples,
        remarks=remarks,
        plots=drawn,
        colours=plots.COLOURS,
        rows=ROWS,
        bars=plots.MOST_BARS,
        version=__version__,
    )


def _plots(snapshot: Snapshot, measures: Measures) -> dict[str, str | None]:
    return {
        "hours": plots.hours(snapshot),
        "durations": plots.durations(measures),
        "scores": plots.scores(measures),
        "speakers": plots.speakers(measures),
        "flags": plots.flags(snapshot),
        "stages": plots.stages(snapshot),
    }


def _template() -> Template:
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the report needs {' and '.join(missing)}: pip install 'duplexforge[report]'")
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in ("clock", "label", "pace", "plain", "plural", "share", "size"):
        environment.globals[name] = getattr(wording, name)
    environment.tests["link"] = lambda url: str(url or "").lower().startswith(("http://", "https://"))
    source = resources.files("duplexforge.status").joinpath("report.html.j2").read_text("utf-8")
    return environment.from_string(source)


def _write(page: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    # Titles may hold half a surrogate pair, which is no UTF-8.
    unfinished.write_bytes(page.encode("utf-8", "replace"))
    unfinished.replace(path)


# -- segments and their audio ----------------------------------------------------------------------------------------


def _segments(reader: Reader, draw: Draw, differences: Differences) -> Iterator[dict[str, Any]]:
    """The segments of every committed episode, each offered to ``draw`` when the manifest names its audio."""
    manifests: dict[str, Manifest] = {}

    def keys() -> Iterator[str]:
        for manifest in reader.manifests():
            if manifest.segments or any(entry.name == SEGMENTS_FILE for entry in manifest.files):
                key = manifest.folder + SEGMENTS_FILE
                manifests[key] = manifest
                yield key

    for key, body in reader.bodies(keys(), ahead=8):
        manifest = manifests.pop(key)
        sizes = {entry.name: entry.size for entry in manifest.files}
        for segment in _parsed(body, key, differences):
            audio = str(segment.get("audio") or "")
            if 0 < sizes.get(audio, 0) <= _SAMPLE_BYTES:
                draw.add(segment, manifest.folder + audio)
            yield segment
    for key in manifests:
        differences.note("A committed file is missing", key)


def _parsed(body: bytes, key: str, differences: Differences) -> Iterator[dict[str, Any]]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, list):
        differences.note("A list of segments cannot be read", key)
        return
    yield from (one for one in found if isinstance(one, dict))


def _samples(store: Store, draw: Draw) -> Iterator[Sample]:
    for segment, key in draw.drawn():
        audio = store.find(key)
        expected = segment.get("sha256")
        # Better one sample fewer than one that belongs to other words.
        if audio and (not expected or hashlib.sha256(audio).hexdigest() == expected):
            yield Sample(segment, audio, _MIME.get(key.rsplit(".", 1)[-1].lower(), "audio/mpeg"))
