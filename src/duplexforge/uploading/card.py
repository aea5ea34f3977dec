"""The card of the data set: ``README.md``, generated from the ledger, by whose front matter ``load_dataset`` opens it.

The front matter states the features of every config, so that nothing is inferred from the first samples of a shard.
There is no time of day in it: the same ledger gives the same card, and writing it again changes nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import yaml

from duplexforge.layout import UNKNOWN_LANGUAGE
from duplexforge.records import Hours, LedgerEntry
from duplexforge.uploading import plots
from duplexforge.uploading.ledger import BatchId
from duplexforge.uploading.schema import FIELDS, features

CARD = "README.md"
# The Hub refuses a card whose licence it does not know; all others are "other" with a name.
_LICENCES = (
    "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "apache-2.0", "mit",
)  # fmt: skip
_PICTURES = {
    "hours": "Hours by language: published, flagged, no speech",
    "durations": "Segments by duration in seconds",
    "dnsmos": "Segments by estimated quality (DNSMOS)",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_FLAGS = {
    "few_characters": "hardly any text was recognised",
    "low_confidence": "the recogniser doubts its text",
    "low_mos": "the estimated quality is under the limit",
    "odd_rate": "far more or fewer characters a second than usual",
    "overlap": "somebody else speaks too",
    "repetition": "the text repeats itself, a habit of recognisers on noise",
    "too_long": "longer than the limit",
    "too_short": "shorter than the limit",
}


def render(entries: Iterable[LedgerEntry], *, pictures: Collection[str] = ()) -> str:
    """The card of a data set that holds these batches; a batch that is given twice counts once, the last one given.

    ``pictures`` are the plots that lie beside it.
    """
    batches = _once(entries)
    front = yaml.safe_dump(_front_matter(batches), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{_body(batches, pictures)}"


def render_all(entries: Iterable[LedgerEntry]) -> dict[str, bytes]:
    """The card and its plots, by path in the data set."""
    batches = _once(entries)
    pictures = plots.draw(batches)
    return {**pictures, CARD: render(batches, pictures=pictures).encode()}


def is_current(text: str, entries: Iterable[LedgerEntry]) -> bool:
    """Whether ``text`` is the card of these batches; with or without plots, as its writer had matplotlib or not."""
    named = [f"{plots.FOLDER}{name}.png" for name in _PICTURES]
    return text == render(entries, pictures=[path for path in named if f"]({path})" in text])


def _once(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    known = {entry.batch: entry for entry in entries}
    return sorted(known.values(), key=lambda entry: BatchId.read(entry.batch))


def _front_matter(batches: Sequence[LedgerEntry]) -> dict[str, Any]:
    languages = sorted({entry.language for entry in batches})
    front: dict[str, Any] = {"pretty_name": "Speech segments"}
    if tagged := [language for language in languages if language != UNKNOWN_LANGUAGE]:
        front["language"] = tagged
    front |= _licence(batches)
    front["task_categories"] = ["automatic-speech-recognition", "text-to-speech"]
    front["tags"] = ["audio", "speech", "webdataset", "duplexforge"]
    front["size_categories"] = [_size(sum(entry.samples for entry in batches))]
    names = ["default", *languages] if len(languages) > 1 else languages
    front["configs"] = [_config(name, default=name == names[0]) for name in names]
    front["dataset_info"] = [{"config_name": name, "features": features(_audio(batches, name))} for name in names]
    return front


def _config(name: str, *, default: bool) -> dict[str, Any]:
    path = "data/*/*.tar" if name == "default" else f"data/{name}/*.tar"
    config: dict[str, Any] = {"config_name": name, "data_files": [{"split": "train", "path": path}]}
    if default:
        config["default"] = True
    return config


def _audio(batches: Sequence[LedgerEntry], config: str) -> list[str]:
    return sorted({entry.audio for entry in batches if entry.audio and config in ("default", entry.language)})


def _licences(batches: Iterable[LedgerEntry]) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in batches:
        found.update(entry.licences)
    return found


def _licence(batches: Sequence[LedgerEntry]) -> dict[str, str]:
    """The licence when all samples have the same; a data set of several states none, its text lists them."""
    found = list(_licences(batches))
    if len(found) != 1 or not found[0]:
        return {}
    name = re.sub(r"[^a-z0-9.]+", "-", found[0].lower()).strip("-")
    return {"license": name} if name in _LICENCES else {"license": "other", "license_name": name or "other"}


def _size(samples: int) -> str:
    return next((word for limit, word in _SIZES if samples < limit), "n>1M")


# -- the text ----------------------------------------------------------------------------------------------------------


def _body(batches: Sequence[LedgerEntry], pictures: Collection[str]) -> str:
    parts = [_INTRODUCTION, _amounts(batches), *_pictures(pictures), _LOADING]
    parts += [_fields(), _flags(batches), _origin(batches), _PROVENANCE]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _pictures(pictures: Collection[str]) -> list[str]:
    paths = {name: f"{plots.FOLDER}{name}.png" for name in _PICTURES}
    return [f"![{_PICTURES[name]}]({path})" for name, path in paths.items() if path in pictures]


def _amounts(batches: Sequence[LedgerEntry]) -> str:
    lines = [
        "## How much",
        "",
        "| language | shards | episodes | segments | with flags | source hours | published | flagged | no speech |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    languages = sorted({entry.language for entry in batches})
    lines += [_amount(name, [entry for entry in batches if entry.language == name]) for name in languages]
    if len(languages) > 1:
        lines.append(_amount("all", batches))
    return "\n".join([*lines, "", _SUM])


def _amount(name: str, batches: Sequence[LedgerEntry]) -> str:
    hours = sum((entry.hours for entry in batches), Hours())
    counts = (
        len(batches),
        sum(len(entry.episodes) for entry in batches),
        sum(entry.samples for entry in batches),
        sum(entry.flagged for entry in batches),
    )
    amounts = (hours.source, hours.published, hours.flagged, hours.no_speech)
    cells = [name, *(f"{count:,}" for count in counts), *(f"{amount:,.2f}" for amount in amounts)]
    return f"| {' | '.join(cells)} |"


def _fields() -> str:
    rows = [f"| `{field.name}` | {field.meaning} |" for field in FIELDS]
    return "\n".join(["## What a sample holds", "", "| field of `json` | meaning |", "|---|---|", *rows])


def _flags(batches: Sequence[LedgerEntry]) -> str:
    counts: Counter[str] = Counter()
    for entry in batches:
        counts.update(entry.flags)
    names = sorted({*counts, *_FLAGS})
    rows = [f"| `{name}` | {_FLAGS.get(name, 'see the pipeline that made it')} | {counts[name]:,} |" for name in names]
    return "\n".join(["## Flags", "", "| flag | meaning | segments |", "|---|---|--:|", *rows])


def _origin(batches: Sequence[LedgerEntry]) -> str:
    rows = [f"| {_cell(name) or 'not stated'} | {count:,} |" for name, count in sorted(_licences(batches).items())]
    head = ["## Licences", "", "Every sample carries its own `url`, `source` and `licence`.", ""]
    return "\n".join([*head, "| licence | segments |", "|---|--:|", *rows])


def _cell(text: str) -> str:
    """Text from outside in a table cell: one line, no markup."""
    return re.sub(r"[^\w .,:;()/+-]", "", " ".join(text.split()))[:120]


_SUM = "Source hours = published + flagged + no speech. Flagged segments are in the shards too: filter by `flags`."

_INTRODUCTION = """
# Speech segments

Segments of recorded speech, each of one speaker, with text, times, speaker and quality scores. Nothing was thrown away:
what a strict filter would drop is in here with the reasons in `flags`.
"""

_LOADING = """
## How to load it

```python
from datasets import load_dataset

data = load_dataset("PATH", split="train")                    # every language
data = load_dataset("PATH", "en", split="train", streaming=True)   # one language, without downloading it first
clean = data.filter(lambda sample: not sample["json"]["flags"])
```

That wants `pip install "datasets[audio]"`, as every data set with an audio column does. Without torch, take the audio
as bytes (`mp3`, or whatever the column is called):

```python
from datasets import Value, load_dataset_builder

features = load_dataset_builder("PATH").info.features.copy()
features["mp3"] = Value("binary")
data = load_dataset("PATH", split="train", features=features)
```

`PATH` is this folder or the name of this data set on the Hub. The shards `data/<language>/train-<number>.tar` are
plain WebDataset: the audio of a sample is followed by its `.json`. Beside each lies a `.parquet` with the same rows
without the audio, for looking around without fetching it. Its columns are the fields below, those of `asr` flat, and
`key` and `shard`, which say where the audio is:

```python
rows = load_dataset("parquet", data_files="PATH/data/*/*.parquet", split="train")
```

On the Hub the files are called `hf://datasets/OWNER/NAME/data/*/*.parquet`.
"""

_PROVENANCE = """
## Provenance

Made with duplexforge. Text, speakers, times and scores are the output of machines and hold errors. The recordings
belong to those who made them; heed the licence of each source.
"""
