"""XML that strangers wrote, read safely: no entities, no external parts, a cap on size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duplexforge.errors import InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# The largest public feeds are a tenth of this.
MAX_DOCUMENT = 32 * 1024 * 1024
_MAX_TEXT = 500


def root_of(body: bytes, where: str, what: str) -> Element:
    """The root of the document in ``body``; ``what`` names its kind. InputError(``bad_feed``, ``too_large``)."""
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if len(body) > MAX_DOCUMENT:
        raise InputError(f"the {what} {where} is larger than {MAX_DOCUMENT} bytes", reason="too_large")
    try:
        # A blank line before <?xml is wrong but common.
        root: Element = fromstring(body.lstrip())
    except DefusedXmlException as error:
        raise InputError(f"the {what} {where} defines XML entities, which are refused", reason="bad_feed") from error
    except (ParseError, ValueError, LookupError) as error:
        message = f"{where} is not XML ({error}): is it really the address of a {what}?"
        raise InputError(message, reason="bad_feed") from error
    return root


def text_of(element: Element, tag: str, *, limit: int | None = _MAX_TEXT) -> str | None:
    """The text of the first child ``tag``, trimmed and cut; None when there is none."""
    text = (element.findtext(tag) or "").strip()
    return text[:limit] or None
