"""Logging: JSON lines for machines, short coloured lines for a terminal, and no secret in either.

Every process calls :func:`setup` once. Secrets are registered with :func:`hide` when settings are read; the filter removes
them, and anything that looks like a signed query string, from every event before it is written.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

_SIGNED = re.compile(r"(?i)((?:x-amz-[a-z-]+|signature|sig|token|key|password|secret)=)[^&\s\"']+")
_BEARER = re.compile(r"(?i)(bearer\s+)\S+")
_USERINFO = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
_hidden: set[str] = set()

Logger = structlog.stdlib.BoundLogger


def hide(secret: str | None) -> None:
    """Never write ``secret`` again (shorter than 6 characters it would blank out ordinary words, so it is left)."""
    if secret and len(secret) >= 6:
        _hidden.add(secret)


def redact(text: str) -> str:
    """``text`` without registered secrets, the values of signed query strings, and passwords inside addresses."""
    for secret in _hidden:
        text = text.replace(secret, "***")
    return _USERINFO.sub(r"\1***@", _BEARER.sub(r"\1***", _SIGNED.sub(r"\1***", text)))


def _redact_event(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = redact(value)
        elif not isinstance(value, int | float | bool | type(None)):
            event[name] = redact(str(value))
    return event


def setup(*, level: str = "INFO", stream: TextIO | None = None, json_lines: bool | None = None) -> None:
    """Send structlog events to ``stream`` (stderr): as JSON lines unless it is a terminal or ``json_lines`` says so."""
    out = stream or sys.stderr
    as_json = not out.isatty() if json_lines is None else json_lines
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def get(name: str, **context: Any) -> Logger:
    """A logger whose events carry ``part=name`` and the given context."""
    return cast(Logger, structlog.get_logger(part=name, **context))
