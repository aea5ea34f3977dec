"""A folder of made voices that differ in pitch, and a recipe small enough for a test."""

from __future__ import annotations

from pathlib import Path

from duplexforge.training import preparing, sources
from duplexforge.training.speakers import balanced
from tests.unit.training import made


def voices_folder(folder: Path, *, speakers: int = 5, files: int = 6, held: int = 2, seconds: float = 0.8) -> Path:
    """What ``duplexforge data speakers`` makes of ``speakers`` voices, the last ``held`` of them held out."""
    source = made.recordings(folder / "recordings", speakers=speakers, files=files, seconds=seconds)
    names = [f"s{number}" for number in range(speakers - held, speakers)]
    preparing.prepare(sources.plain(source), folder / "speakers", validation=names, finish=balanced)
    return folder / "speakers"


def recipe_text(folder: Path, output: Path, *, epochs: int = 2, **tables: str) -> str:
    """A recipe for ``folder``; ``tables`` add lines to a table."""
    extra = {name: tables.get(name, "") for name in ("data", "model", "losses", "optimizer", "loop")}
    return f"""
trainer = "speakers"
output = "{output}"
seed = 3
[data]
folder = "{folder}"
seconds = 0.5
gain_db = [-6.0, 0.0]
{extra["data"]}
[model]
channels = 16
dilations = [1, 2]
squeeze = 4
joined = 24
attention = 8
kept = 0.4
evaluate_crops = 6
{extra["model"]}
[losses]
margin_steps = 4
{extra["losses"]}
[optimizer]
learning_rate = 3e-3
betas = [0.9, 0.99]
warmup_steps = 2
{extra["optimizer"]}
[loop]
epochs = {epochs}
steps_per_epoch = 3
batch_size = 8
threads = 1
{extra["loop"]}
"""
