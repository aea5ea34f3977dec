"""The published data set in the shapes of other toolkits: NeMo manifests (plain or tarred) and lhotse manifests.

What is exported is what the ledger says is published, read from the store through the manifests, so that it needs no
Hub and no download of shards. One segment at a time is in memory. NeMo and lhotse are not needed to write their formats.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from duplexforge.errors import ConfigError, InputError, UsageError
from duplexforge.layout import Layout, audio_extension
from duplexforge.storage import Store
from duplexforge.uploading.episodes import read_episode
from duplexforge.uploading.ledger import BatchId, Ledger, purged_ids, read_batch

_THREADS = 8
# Fields of a sample that every toolkit may want to filter by; each has a place for what it does not know.
_CUSTOM = ("dnsmos", "dnsmos_sig", "dnsmos_bak", "overlap", "flags", "episode_id", "source", "licence", "url")


class Item(NamedTuple):
    """One published segment: its key in the shards, the number of its shard in the export, its JSON, its audio."""

    key: str
    shard: int
    fields: dict[str, Any]
    audio: bytes

    @property
    def file(self) -> str:
        """The file name of the audio."""
        return f"{self.key}.{audio_extension(self.fields['audio'])}"


@dataclass
class Exported:
    """What an export wrote: segments and hours by language, and how many the filters left out."""

    out: str
    form: str
    segments: Counter[str] = field(default_factory=Counter)
    hours: dict[str, float] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """The counts for machines."""
        return {**vars(self), "segments": dict(self.segments), "left_out": dict(self.left_out)}

    def to_text(self) -> str:
        """The counts for people."""
        lines = [f"{name}: {count} segments, {self.hours[name]:.2f} hours" for name, count in self.segments.items()]
        lines += [f"left out: {count} ({reason})" for reason, count in sorted(self.left_out.items())]
        return "\n".join([*lines, f"{self.form} export in {self.out}"])


class Writer(Protocol):
    """Writes one form of export into a folder, item by item."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, item: Item) -> None:
        """Write one segment."""


def export(
    store: Store,
    layout: Layout,
    form: str,
    out: Path,
    *,
    language: str | None = None,
    clean: bool = False,
) -> Exported:
    """Write the published segments to ``out`` in the form ``nemo``, ``nemo-tarred`` or ``lhotse``.

    ``language`` takes the shards of one language only, ``clean`` the segments without flags. Raises UsageError when the
    folder holds something already, InputError when nothing is published or the store has lost a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder: name another one for the export")
    done = Exported(str(out), form)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FORMS[form](out) as writer:
            for item in _items(store, layout, language, clean, done):
                writer.add(item)
    except OSError as error:
        raise ConfigError(f"cannot write the export to {out}: {error.strerror or error}", reason="disk") from error
    if not done.segments:
        raise InputError(f"nothing of that kind is published, so {out} stays empty", reason="nothing")
    return done


def _items(store: Store, layout: Layout, language: str | None, clean: bool, done: Exported) -> Iterator[Item]:
    purged = purged_ids(store, layout)
    entries = [entry for entry in Ledger(store, layout).entries() if language in (None, entry.language)]
    shard = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for entry in entries:
            lines = read_batch(store, layout, BatchId.read(entry.batch)).without(purged).lines
            wrote = False
            for line in sorted(lines, key=lambda one: one.episode_id):
                episode = read_episode(store, line)
                for (key, fields), body in zip(episode.samples(), episode.audio(store, pool), strict=True):
                    if clean and fields["flags"]:
                        done.left_out["flagged"] += 1
                        continue
                    wrote = True
                    done.segments[entry.language] += 1
                    done.hours[entry.language] = done.hours.get(entry.language, 0.0) + fields["duration"] / 3600
                    yield Item(key, shard, fields, body)
            shard += wrote  # tars of an export are dense too


# -- the forms ---------------------------------------------------------------------------------------------------------


class _Folder:
    """What the writers share: the folder, the files that are open, the audio files beside them."""

    def __init__(self, out: Path) -> None:
        self._out, self._open = out, ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _audio(self, item: Item) -> str:
        """Write the audio to ``audio/<episode>/``; its path relative to the folder."""
        path = Path("audio") / item.fields["episode_id"] / item.file
        (self._out / path).parent.mkdir(parents=True, exist_ok=True)
        (self._out / path).write_bytes(item.audio)
        return str(path.as_posix())

    def _lines(self, name: str) -> Callable[[dict[str, Any]], None]:
        """A JSON lines file, compressed when its name says so, always with the same bytes for the same lines."""
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = self._open.enter_context(path.open("wb"))
        # No name and no time in the header.
        sink: Any = raw
        if name.endswith(".gz"):
            sink = self._open.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))

        def write(entry: dict[str, Any]) -> None:
            sink.write(json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n")

        return write


def _nemo_entry(item: Item, path: str) -> dict[str, Any]:
    fields = item.fields
    known = {"audio_filepath": path, "duration": fields["duration"], "text": fields["text"], "lang": fields["language"]}
    return {**known, "speaker": fields["speaker"], **{name: fields[name] for name in _CUSTOM}}


class NemoWriter(_Folder):
    """``manifest.jsonl`` and the audio; paths are relative to the manifest, as NeMo resolves them."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._write = self._lines("manifest.jsonl")

    def add(self, item: Item) -> None:
        """Write one segment."""
        self._write(_nemo_entry(item, self._audio(item)))


class NemoTarredWriter(_Folder):
    """``audio_<n>.tar`` with nothing but audio, one manifest of all and one a shard, as NeMo's own converter names them."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._all = self._lines("tarred_audio_manifest.json")
        self._shard: _TarredShard | None = None
        self._open.callback(self._close_shard)

    def add(self, item: Item) -> None:
        """Write one segment; a new shard begins where the data set's does."""
        if self._shard is None or item.shard != self._shard.number:
            self._close_shard()
            self._shard = _TarredShard(self._out, item.shard)
        self._all(self._shard.add(item))

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._shard.__exit__(None, None, None)
            self._shard = None


class _TarredShard(_Folder):
    """One tar and its manifest, open until the next one begins."""

    def __init__(self, out: Path, number: int) -> None:
        super().__init__(out)
        self.number = number
        self._write = self._lines(f"sharded_manifests/manifest_{number}.json")
        file = self._open.enter_context((out / f"audio_{number}.tar").open("wb"))
        self._tar = self._open.enter_context(tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT))

    def add(self, item: Item) -> dict[str, Any]:
        """Write one segment; its entry."""
        # NeMo takes "-sub" in a name for the mark of one that stands in the tar several times.
        info = tarfile.TarInfo(item.file.replace("-sub", "~sub"))
        info.size = len(item.audio)
        self._tar.addfile(info, io.BytesIO(item.audio))
        entry = {**_nemo_entry(item, info.name), "shard_id": self.number}
        self._write(entry)
        return entry


class LhotseWriter(_Folder):
    """``recordings``, ``supervisions`` and ``cuts`` as ``.jsonl.gz``: a recording a segment, its audio beside them."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._recordings = self._lines("recordings.jsonl.gz")
        self._supervisions = self._lines("supervisions.jsonl.gz")
        self._cuts = self._lines("cuts.jsonl.gz")

    def add(self, item: Item) -> None:
        """Write one segment."""
        rate, samples = sound_of(item.audio)
        fields, seconds = item.fields, samples / rate
        recording = {
            "id": item.key,
            # lhotse opens paths as they are, from wherever it runs.
            "sources": [{"type": "file", "channels": [0], "source": str((self._out / self._audio(item)).absolute())}],
            "sampling_rate": rate,
            "num_samples": samples,
            "duration": seconds,
            "channel_ids": [0],
        }
        supervision = {
            "id": item.key, "recording_id": item.key, "start": 0.0, "duration": seconds, "channel": 0,
            "text": fields["text"], "language": fields["language"], "speaker": fields["speaker"],
            "custom": {name: fields[name] for name in _CUSTOM},
        }  # fmt: skip
        cut = {
            "id": item.key, "start": 0.0, "duration": seconds, "channel": 0, "supervisions": [supervision],
            "recording": recording, "type": "MonoCut",
        }  # fmt: skip
        self._recordings(recording)
        self._supervisions(supervision)
        self._cuts(cut)


def sound_of(audio: bytes) -> tuple[int, int]:
    """Sampling rate and number of samples of an encoded segment, from its header where it says them, else by decoding."""
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            "the lhotse export reads audio headers with PyAV: pip install 'duplexforge[download]'"
        ) from error
    container: Any
    with av.open(io.BytesIO(audio)) as container:
        stream = container.streams.audio[0]
        if stream.duration is not None and stream.time_base is not None:
            return int(stream.rate), round(stream.duration * stream.time_base * stream.rate)
        return int(stream.rate), sum(frame.samples for frame in container.decode(stream))


FORMS: dict[str, Callable[[Path], Writer]] = {
    "nemo": NemoWriter,
    "nemo-tarred": NemoTarredWriter,
    "lhotse": LhotseWriter,
}
