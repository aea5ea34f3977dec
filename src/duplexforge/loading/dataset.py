"""``easy_load``: a duplex data set as a sequence of training items, from wherever it is, without torch.

Opening reads the manifest, the format and the list of windows of one split, nothing else; an item then decodes only its
own part of its side. Items are numpy; :mod:`duplexforge.loading.torch_dataset` makes torch's data sets of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, overload

import numpy as np
import numpy.typing as npt

from duplexforge.errors import ConfigError, InputError
from duplexforge.framing import DuplexFormat, Ints
from duplexforge.loading.places import Place, place_of
from duplexforge.loading.schema import FORMAT, DuplexManifest, window_schema
from duplexforge.loading.sides import STREAMS, Floats, Sides, arrow_files, mapped
from duplexforge.records import parse

__all__ = ["DuplexDataset", "Item", "easy_load", "open_dataset"]


class Item(TypedDict):
    """One window of a side. Chunks of the audio and of the sequence are the same; samples are in ±1."""

    input_sequence: Ints
    """int64[n]: per chunk the placeholders, then a silence token or text tokens."""
    input_audios: Floats
    """float32[chunks, 5120]: the user at 16 kHz."""
    target_audios: Floats
    """float32[chunks, 7680]: the agent at 24 kHz."""
    speaker_embedding: Floats | None
    """float32[192] of unit length, of the agent's voice; None when nobody measured it."""
    session_id: str
    seq_id: int


def easy_load(
    where: str | Path, split: str = "train", *, revision: str | None = None, cache: str | Path | None = None
) -> DuplexDataset:
    """A split of the data set in a folder, ``s3://BUCKET/PREFIX``, ``hf://OWNER/NAME`` or ``OWNER/NAME`` (the Hub).

    Stores and the Hub are reached with the usual settings (``AWS_…``, ``R2_…``, ``HF_TOKEN``). ``revision`` is one of the
    Hub; ``cache`` is where fetched files are kept (default ``~/.cache``, for the Hub its client's own). ConfigError when
    there is no such place or split, InputError when what is there is unfinished, damaged or of a newer version.
    """
    return open_dataset(place_of(where, revision=revision, cache=cache), split)


def open_dataset(place: Place, split: str = "train", *, streams: int = STREAMS) -> DuplexDataset:
    """As :func:`easy_load`, from a place. ``streams`` is how many sides' token streams each process keeps."""
    body = place.manifest()
    if body is None:
        raise InputError(
            f"{place.name} has no manifest.json: it is no duplex data set, or its build did not finish",
            reason="no_manifest",
        )
    manifest = parse(DuplexManifest, body, f"manifest.json of {place.name}")
    entry = next((one for one in manifest.files if one.name == FORMAT), None)
    if entry is None:
        raise InputError(f"manifest.json of {place.name} names no {FORMAT}", reason="missing_file")
    fmt = parse(DuplexFormat, place.path(entry).read_bytes(), f"{FORMAT} of {place.name}")
    if not arrow_files(manifest, split):
        there = [name for name in manifest.totals if arrow_files(manifest, name)]
        raise ConfigError(f"{place.name} has no split {split!r}, it has {', '.join(there) or 'none'}")
    return DuplexDataset(place, manifest, fmt, split, streams=streams)


class DuplexDataset(Sequence[Item]):
    """The windows of one split, in the order in which they were built. Cheap to pickle: a copy opens its own files."""

    def __init__(
        self, place: Place, manifest: DuplexManifest, fmt: DuplexFormat, split: str, *, streams: int = STREAMS
    ) -> None:
        self.place, self.manifest, self.format, self.split = place, manifest, fmt, split
        self._sides = Sides(place, manifest, fmt, streams=streams)
        tables = [mapped(place, entry, window_schema()) for entry in arrow_files(manifest, split)]
        # Names once and numbers for the rest: a million windows belong to a few sides.
        self._sessions, self._session = np.unique(_column(tables, "session_id", str), return_inverse=True)
        self._numbers = _column(tables, "seq_id", np.int64)
        self._starts, self._ends = _column(tables, "start_sample", np.int64), _column(tables, "end_sample", np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """The window at ``index``, or a list of them; InputError when its side is damaged or does not hold it."""
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        session_id, number = str(self._sessions[self._session[index]]), int(self._numbers[index])
        first, odd = divmod(int(self._starts[index]), self.format.user_samples)
        end, over = divmod(int(self._ends[index]), self.format.user_samples)
        if odd or over:
            raise InputError(
                f"{self._named(session_id, number)} does not begin and end with a chunk", reason="bad_window"
            )
        return self.window(session_id, first, end, seq_id=number)

    def window(self, session_id: str, first: int, end: int, *, seq_id: int = 0) -> Item:
        """Chunks ``first`` to ``end`` (exclusive) of a side, windows or not."""
        side = self._sides[session_id]
        if not 0 <= first < end <= side.chunks:
            raise InputError(
                f"{self._named(session_id, seq_id)} is chunks {first} to {end} of a side of {side.chunks}",
                reason="bad_window",
            )
        user, agent = self._sides.samples(side, first, end)
        return Item(
            input_sequence=side.stream.cut(first, end).copy(),
            input_audios=user,
            target_audios=agent,
            speaker_embedding=None if side.speaker_embedding is None else side.speaker_embedding.copy(),
            session_id=session_id,
            seq_id=seq_id,
        )

    def chunks(self) -> Ints:
        """Chunks of each window, int64[len(self)], without reading any: for sampling by length."""
        counts: Ints = (self._ends - self._starts) // self.format.user_samples
        return counts

    def _named(self, session_id: str, number: int) -> str:
        return f"{self.place.name}: {self.split}/{session_id}#{number}"


def _column(tables: list[Any], name: str, kind: type) -> npt.NDArray[Any]:
    parts = [table.column(name).to_numpy() for table in tables]
    return np.concatenate(parts).astype(kind)
