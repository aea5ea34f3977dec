"""OPML: the list of feeds that every podcast program exports, with folders in folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from duplexforge.downloading.identity import web_url
from duplexforge.downloading.markup import root_of
from duplexforge.downloading.notes import SeedReport
from duplexforge.errors import InputError

_MAX_TITLE = 200


@dataclass(frozen=True)
class Outline:
    """One feed of an OPML file."""

    url: str
    title: str | None = None
    language: str | None = None


def looks_like_opml(start: bytes) -> bool:
    """Whether a document that begins with ``start`` is OPML."""
    return b"<opml" in start[:4096].lower()


def outlines(body: bytes, where: str, notes: SeedReport) -> Iterator[Outline]:
    """The feeds of the OPML in ``body``, in document order, whatever folders they lie in.

    An outline whose address is none is refused and the others go on. InputError(``bad_feed``) when it is no OPML.
    """
    root = root_of(body, where, "OPML file")
    if root.tag.lower() != "opml":
        raise InputError(f"{where} is XML but not OPML (its root is {root.tag[:60]!r})", reason="bad_feed")
    found = False
    for outline in root.iter():
        # Programs differ in the case of the attribute (xmlUrl, xmlurl).
        named = {name.lower(): value for name, value in outline.attrib.items()}
        if "xmlurl" not in named:
            continue
        found = True
        title = (named.get("title") or named.get("text") or "").strip()[:_MAX_TITLE] or None
        try:
            yield Outline(web_url(named["xmlurl"]), title, named.get("language"))
        except InputError as error:
            notes.refuse(title or named["xmlurl"], error)
    if not found:
        raise InputError(f"{where} is OPML without a single feed", reason="bad_feed")
