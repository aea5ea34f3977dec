"""Licences as people, feeds and sites spell them, brought to one word each: ``cc-by-4.0``, ``cc0``, ``public-domain``."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ADDRESS = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z+-]+)(?:/(\d\.\d))?")
_WORDS = re.compile(r"cc[\s_-]*((?:by|sa|nc|nd)(?:[\s_-]+(?:by|sa|nc|nd))*)[\s_-]*(\d\.\d)?\b")
_SPOKEN = (
    ("attribution", "by"), ("noncommercial", "nc"), ("noderiv", "nd"), ("sharealike", "sa"),
)  # fmt: skip
_ORDER = ("by", "nc", "nd", "sa")


def licence_words(text: str | None) -> tuple[str, ...]:
    """The licences of a list with commas; none of them for None."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def normal_licence(text: str) -> str:
    """The word of a licence with its version where it is stated; the text in lower case when it is none that we know."""
    said = " ".join(text.lower().split())
    if match := _ADDRESS.search(said):
        return _from_address(*match.groups())
    if re.search(r"\bcc[\s_-]*0\b|\bcc[\s_-]*zero\b", said):
        return "cc0"
    if match := _WORDS.search(said):
        return _word(set(re.split(r"[\s_-]+", match.group(1))), match.group(2))
    if "creative commons" in said:
        squeezed = re.sub(r"[\s_-]+", "", said)
        parts = {part for name, part in _SPOKEN if name in squeezed}
        version = re.search(r"\b(\d\.\d)\b", said)
        return _word(parts, version.group(1) if version else None) if parts else said
    return "public-domain" if re.search(r"\bpublic[\s_-]?domain\b|\bpdm\b", said) else said


def _from_address(kind: str, name: str, version: str | None) -> str:
    if kind == "publicdomain":
        return "cc0" if name == "zero" else "public-domain"
    return _word(set(name.split("-")), version)


def _word(parts: set[str], version: str | None) -> str:
    return "-".join(["cc", *(part for part in _ORDER if part in parts), *([version] if version else [])])


def allowed(licence: str | None, wanted: Iterable[str]) -> bool:
    """Whether a stated licence is one of ``wanted``; one of these without a version stands for all its versions.

    What states no licence is allowed here: a list seldom carries it, and the download asks again once the site told.
    """
    if not licence:
        return True
    own = normal_licence(licence)
    plain = re.sub(r"-\d\.\d$", "", own)
    return any(word in (own, plain) for word in map(normal_licence, wanted))
