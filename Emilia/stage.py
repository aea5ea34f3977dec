"""The shape of a stage and how engines are found.

A stage (``stages/<name>.py``) holds the rules that are the same whichever model does the work; an engine
(``models/*.py``) is one model behind that stage's small protocol. Each stage file ends in a table ``ENGINES`` from
the engine's name in the configuration to ``module:Class``, imported only when it is used. A new engine is one file
and one line in that table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

from Emilia.errors import BadConfig
from Emilia.recording import Recording

__all__ = ["SHARED", "STAGES", "Progress", "Stage", "find", "find_stage"]

Progress = Callable[[float], None]
"""Called with the share of the stage that is done (0..1), at least every few seconds; it may raise to stop the run."""

STAGES: Mapping[str, str] = {
    "standardize": "Emilia.stages.standardize:Standardize",
    "events": "Emilia.stages.events:Events",
    "separate": "Emilia.stages.separate:Separate",
    "diarize": "Emilia.stages.diarize:Diarize",
    "segment": "Emilia.stages.segment:Segmentation",
    "transcribe": "Emilia.stages.transcribe:Transcribe",
    "score": "Emilia.stages.score:Score",
    "export": "Emilia.stages.export:Export",
}
"""Every stage by its name in ``pipeline.order``; each is built with the whole :class:`Emilia.config.Config`."""


SHARED = frozenset({"transcribe"})
"""Stages that several episodes may be in at once; in every other stage they take turns."""


class Stage(Protocol):
    """One step of the pipeline.

    ``needs`` and ``adds`` name fields of :class:`Recording`. ``load`` fetches models once and raises
    ``ModelMissing``; ``run`` may be called for many recordings and must leave no state behind that changes a later
    result; ``models`` gives name and version of every model in use. A stage flags segments, it never removes one.
    """

    name: str
    needs: tuple[str, ...]
    adds: tuple[str, ...]
    engine: str

    @property
    def models(self) -> dict[str, str]: ...

    def load(self, device: str) -> None: ...

    def run(self, recording: Recording, progress: Progress) -> None: ...

    def close(self) -> None: ...


def find(table: Mapping[str, str], name: str, what: str) -> Any:
    """The class that ``table`` has under ``name``, imported now; ``BadConfig`` names the choices when there is none."""
    if name not in table:
        raise BadConfig(f"There is no {what} called {name!r}; the choices are {', '.join(sorted(table))}.")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)


def find_stage(name: str) -> Callable[..., Stage]:
    """The class of the stage called ``name``."""
    stage: Callable[..., Stage] = find(STAGES, name, "stage")
    return stage
