"""A small Emilia package of the tests' own: it keeps the whole API and cuts any file into two segments of a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = '''
"""A pipeline for tests: real files, no models. The first bytes of the source choose what happens."""
import hashlib, json
from dataclasses import dataclass, field
from pathlib import Path

API_VERSION = 1


class BadAudio(Exception):
    def __init__(self, reason, message):
        super().__init__(message)
        self.reason = reason


class BadConfig(Exception): ...
class ModelMissing(Exception): ...
class DeviceLost(Exception): ...


@dataclass
class Segment:
    speaker: str
    flags: list = field(default_factory=list)


@dataclass
class Result:
    outcome: str
    duration: float
    segments: list
    seconds: dict
    facts: dict
    hours: dict


@dataclass
class Options:
    episodes: int = 1


class Config:
    def __init__(self, overrides):
        self.overrides = overrides
        self.pipeline = Options(overrides.get("pipeline.episodes", 1))

    def hash(self):
        return "c0ffee"


def load_config(path, preset="lite", overrides=None):
    if preset != "lite":
        raise BadConfig(f"no preset {preset}")
    return Config(overrides or {})


class Pipeline:
    models = {"toy": "1"}

    def __init__(self, config, device="cpu"):
        self.config = config

    def load(self): ...
    def close(self): ...

    def run(self, source, *, episode, out, scratch, language, progress, checkpoints=None):
        body = Path(source).read_bytes()
        if body.startswith(b"corrupt"):
            raise BadAudio("corrupt", "this file is no audio")
        if body.startswith(b"full"):
            raise OSError(28, "No space left on device")
        if body.startswith(b"gated"):
            raise ModelMissing("the model is gated: accept its page")
        if body.startswith(b"broken"):
            raise DeviceLost("the card has fallen off the bus")
        found = checkpoints.load() if checkpoints else None
        if body.startswith(b"resume"):
            if found is None:
                checkpoints.save(b"half " + body)
                raise OSError(5, "Input/output error")
            assert found == b"half " + body
        progress("waiting", 0.0)
        for index in range(2):
            progress("cut", index / 2)
            (Path(out) / f"{episode}_{index:06d}.mp3").write_bytes(body + bytes([index]))
        (Path(out) / "all_segments.json").write_text(json.dumps({"language": language}))
        segments = [Segment(f"{episode}/S00"), Segment(f"{episode}/S01", ["low_mos"])]
        hours = {"source": 0.5, "published": 0.125, "flagged": 0.125, "no_speech": 0.25}
        return Result("ok", 4.0, segments, {"cut": 0.5}, {"engine": "toy"}, hours)
'''


@pytest.fixture
def toy_emilia(tmp_path: Path) -> Iterator[Path]:
    """The folder of the toy package; afterwards the modules are what they were, since other tests hold on to them."""
    before = _emilia_modules()
    folder = tmp_path / "toy" / "Emilia"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(PACKAGE)
    yield folder
    for name in _emilia_modules():
        del sys.modules[name]
    sys.modules.update(before)


def _emilia_modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "Emilia"}
