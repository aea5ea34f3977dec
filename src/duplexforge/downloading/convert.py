"""The fetched file as the audio that is kept."""

from __future__ import annotations

from pathlib import Path

from duplexforge.downloading.audio import extract, probe
from duplexforge.downloading.item import Item
from duplexforge.errors import InputError
from duplexforge.step import Progress

_M4A = "m4a"


def as_audio(item: Item, progress: Progress, audio_format: str = "keep") -> tuple[Path, str, float | None]:
    """The item as an audio file: path, extension, seconds (None when it cannot be told).

    Sound is taken out of videos and odd containers as M4A; with ``audio_format`` ``m4a`` out of everything that is not
    one. A file that claims to be audio and cannot be opened is kept as it is: the processing role rejects it, once.
    """
    found = probe(item.path)
    if found is None:
        if item.extension is None:
            raise InputError("what the address holds is nothing that can be played", reason="not_audio")
        return item.path, item.extension, None
    if not found.has_audio:
        if found.extension is None:
            raise InputError("it is a video without sound", reason="not_audio")
        return item.path, item.extension or found.extension, found.seconds
    # What the content is decides: a name may lie, and an .m4a that is an MP3 is no M4A.
    if found.extension == _M4A or (found.extension is not None and audio_format == "keep"):
        extension = _M4A if audio_format == _M4A else item.extension or found.extension
        return item.path, extension, found.seconds
    target = item.path.with_name("audio.m4a")
    extract(item.path, target, lambda: progress.beat("taking the audio out"))
    taken = probe(target)
    return target, _M4A, taken.seconds if taken else None
