"""The HTML report: one file that needs nothing else, to open in a browser, mail or keep beside a data set.

Everything from outside is escaped by the template engine, the page's own policy forbids scripts and network, and links go
only to http and https addresses. The same snapshot, segments and samples give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from duplexforge import __version__
from duplexforge.layout import Layout
from duplexforge.queues.base import TaskQueue
from duplexforge.records import Manifest
from duplexforge.status import plots, wording
from duplexforge.status.collect import ROWS, collect
from duplexforge.status.measures import Draw, Measures, flags_of, length_of, number
from duplexforge.status.reading import Differences, Reader
from duplexforge.status.snapshot import Snapshot
from duplexforge.storage import Store

SAMPLES = 10
"""Segments to listen to."""

SEGMENTS_FILE = "all_segments.json"
# Two minutes at the usual bit rate: a longer one would make the page heavy and is no segment of this pipeline.
_SAMPLE_BYTES = 1_500_000
_MIME = {"mp3": "audio/mpeg", "flac": "audio/flac", "wav": "audio/wav", "ogg": "audio/ogg", "opus": "audio/ogg"}
_LINK = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class Sample:
    """A segment to listen to: its ``all_segments.json`` entry and the bytes of its audio file."""

    segment: Mapping[str, Any]
    audio: bytes
    mime: str = "audio/mpeg"

    @property
    def source(self) -> str:
        """The audio as a data address."""
        return f"data:{self.mime};base64,{base64.b64encode(self.audio).decode()}"


def build(
    store: Store, layout: Layout, queues: Mapping[str, TaskQueue[Any]], path: Path, *, title: str = "Speech data report"
) -> Snapshot:
    """Collect everything, read the segments of every committed episode, write the page to ``path``; return the snapshot."""
    snapshot = collect(store, layout, queues)
    differences = Differences()
    measures, draw = Measures(), Draw(SAMPLES)
    files: dict[str, Manifest] = {}
    for manifest, found in segments(store, layout, differences):
        for segment in found:
            measures.add(segment)
            draw.add(segment, manifest.folder)
    return snapshot
