"""The messages of the protocols as JSON Schema, for people who write clients: ``schema/*.json``.

``python -m duplexforge.serving.schemas`` writes the files anew from the models; a test compares both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from duplexforge.serving.protocols import agent_messages, pcm16, realtime

__all__ = ["FOLDER", "rendered"]

FOLDER = Path(__file__).parent / "schema"
_PROTOCOLS: dict[str, dict[str, TypeAdapter[Any]]] = {
    "pcm16": pcm16.MESSAGES,
    "agent": agent_messages.MESSAGES,
    "realtime": realtime.MESSAGES,
    "realtime_beta": realtime.BETA_MESSAGES,
}


def rendered() -> dict[str, str]:
    """Each file's name and text; ``in`` is what a client says, ``out`` what it hears."""
    return {f"{name}.json": _file(name, models) for name, models in _PROTOCOLS.items()}


def _file(name: str, models: dict[str, TypeAdapter[Any]]) -> str:
    definitions: dict[str, Any] = {}
    sides: dict[str, Any] = {}
    for side, model in models.items():
        mode: Literal["validation", "serialization"] = "validation" if side == "in" else "serialization"
        sides[side] = model.json_schema(ref_template="#/$defs/{model}", mode=mode)
        definitions |= sides[side].pop("$defs", {})
    content = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"duplexforge serve: {name}",
        "properties": sides,
        "$defs": definitions,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the files."""
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
