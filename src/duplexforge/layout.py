"""Every object key of the product, as a function.

Nothing else in the tree joins prefixes. Keys use the alphabet ``A-Z a-z 0-9 . _ -`` and ``/``; whatever comes from
outside (titles, paths, feed ids) is hashed before it gets here, and :func:`safe_name` refuses the rest.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import langcodes
from langcodes.tag_parser import LanguageTagError

AUDIO_EXTENSIONS = ("mp3", "m4a", "wav", "flac", "aac", "ogg", "opus", "wma", "webm")

STAGES = ("download", "processing", "upload")

# How episode ids begin, by kind of source; a claim starts its listing at a random place behind one of them.
ID_KINDS = ("", "feed-", "file-", "pod-", "url-", "yt-")

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
UNKNOWN_LANGUAGE = "unknown"


def safe_name(name: str) -> str:
    """Return ``name`` when it may be part of a key or file name; ValueError otherwise (path parts, odd signs, length)."""
    if not _SAFE.fullmatch(name) or ".." in name:
        raise ValueError(
            f"{name[:80]!r} cannot be part of an object key: at most 200 letters, digits, '.', '_' and '-'"
        )
    return name


def language_subtag(language: str | None) -> str:
    """Normalise a language to its primary subtag: ``en-US``, ``eng``, ``EN`` → ``en``; anything else → ``unknown``."""
    try:
        tag = langcodes.standardize_tag((language or "").strip(), macro=True)
    except LanguageTagError:
        return UNKNOWN_LANGUAGE
    primary = tag.split("-", 1)[0]
    known = langcodes.tag_is_valid(primary) and primary not in ("und", "mul", "zxx", "mis")
    return primary if known else UNKNOWN_LANGUAGE


def hashed_id(prefix: str, *parts: str) -> str:
    """``<prefix>-<16 hex digits>`` of the parts; the parts may hold anything, the id is safe and stable."""
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{prefix}-{digest[:16]}"


def audio_extension(name: str) -> str | None:
    """The lower-case audio extension of a file name or key, or None when it has none that we take."""
    extension = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    return extension if extension in AUDIO_EXTENSIONS else None


@dataclass(frozen=True)
class Layout:
    """Builds keys below the configured prefixes (each ends with ``/``)."""

    raw: str = "raw_audio/"
    processed: str = "processed/"
    tasks: str = "tasks/"
    models: str = "models/"
    training: str = "training/"
    duplex: str = "duplex/"

    def raw_record(self, language: str, source: str, episode: str) -> str:
        """The commit of a downloaded episode: created if absent, names the audio object."""
        return f"{self.raw}{language_subtag(language)}/{safe_name(source)}/{safe_name(episode)}.json"

    def raw_audio(self, language: str, source: str, episode: str, extension: str, nonce: str = "") -> str:
        """The audio of an episode; with ``nonce`` the spelling that cannot meet another attempt's bytes."""
        name = f"{safe_name(episode)}.{safe_name(nonce)}" if nonce else safe_name(episode)
        return f"{self.raw}{language_subtag(language)}/{safe_name(source)}/{name}.{extension}"

    def todo(self, stage: str, task: str) -> str:
        """A waiting or running task; stays until the task has ended."""
        return f"{self.tasks}{stage}_todo/{safe_name(task)}.task"

    def lease(self, stage: str, task: str, attempt: int) -> str:
        """The claim of one attempt, created by create-if-absent."""
        return f"{self.tasks}{stage}_in_progress/{safe_name(task)}.{attempt}.lease"

    def completed(self, stage: str, task: str) -> str:
        """The record of a task that is done."""
        return f"{self.tasks}{stage}_completed/{safe_name(task)}.task"

    def failed(self, stage: str, task: str) -> str:
        """The record of a task that is given up, with the reason."""
        return f"{self.tasks}{stage}_failed/{safe_name(task)}.task"

    def checkpoint(self, stage: str, task: str, content: str) -> str:
        """What a stopped attempt leaves to the next; ``content`` names what it was made of. No part of the queue."""
        return f"{self.tasks}{stage}_checkpoints/{safe_name(task)}.{safe_name(content)}.json"

    def pacing(self, egress: str) -> str:
        """The prefix of what all pods behind one egress address have agreed on: budgets and pauses of sites."""
        return f"{self.tasks}pacing/{safe_name(egress)}/"

    def pacing_slot(self, egress: str, site: str, per_hour: int, number: int) -> str:
        """One item's place in the budget of a site; created if absent by who takes it. Sorted by number."""
        return f"{self.pacing(egress)}{safe_name(site)}/slots-{per_hour}/{number:016d}"

    def pacing_pause(self, egress: str, site: str, number: int) -> str:
        """A pause of a site; the greatest number is the one that holds."""
        return f"{self.pacing(egress)}{safe_name(site)}/pauses/{number:06d}.json"

    def turns(self, stage: str) -> str:
        """The prefix of the turns at looking for tasks without a message: who creates one takes it."""
        return f"{self.tasks}{stage}_turns/"

    def turn(self, stage: str, number: int) -> str:
        """One turn; the greater the number the later."""
        return f"{self.turns(stage)}{number:012d}"

    def opt_out(self) -> str:
        """The list of those who do not want to be in the data set: one id, address or host a line."""
        return f"{self.tasks}opt_out.txt"

    def purged(self, episode: str) -> str:
        """The record that an episode was taken out of the data set, and must not come back."""
        return f"{self.tasks}purged/{safe_name(episode)}.json"

    def purges(self) -> str:
        """The prefix of the records of purged episodes."""
        return f"{self.tasks}purged/"

    def committer(self, target: str) -> str:
        """The lease of the one uploader that may commit to a data set; ``target`` names it safely."""
        return f"{self.tasks}upload_committer/{safe_name(target)}"

    def tally(self) -> str:
        """What status has read of manifests and failures, so that nobody reads them all again; one for each prefix."""
        return f"{self.tasks}status/{hashed_id('tally', self.processed)}.jsonl.gz"

    def queue_prefix(self, stage: str, state: str) -> str:
        """The prefix of one state of one queue; ``state`` is todo, in_progress, completed or failed."""
        return f"{self.tasks}{stage}_{state}/"

    def episode(self, language: str, episode: str) -> str:
        """The prefix below which everything about a processed episode lies."""
        return f"{self.processed}{language_subtag(language)}/{safe_name(episode)}/"

    def manifest(self, language: str, episode: str) -> str:
        """The commit of a processed episode."""
        return f"{self.episode(language, episode)}manifest.json"

    def attempt(self, language: str, episode: str, attempt: str) -> str:
        """The prefix of one attempt's files; ``attempt`` carries a nonce."""
        return f"{self.episode(language, episode)}{safe_name(attempt)}/"

    def batches(self) -> str:
        """The prefix of batch definitions and their ledger."""
        return f"{self.tasks}upload_batches/"

    def batch(self, batch: str) -> str:
        """A frozen batch definition, one JSON line per episode."""
        return f"{self.batches()}batch_{safe_name(batch)}.jsonl"

    def ledger(self, batch: str) -> str:
        """The record that a batch was published."""
        return f"{self.batches()}batch_{safe_name(batch)}.published.json"

    def run_records(self, run: str, kind: str) -> str:
        """The prefix of what a training run has committed; ``kind`` is checkpoints or exports."""
        return f"{self.models}{safe_name(run)}/{safe_name(kind)}/"

    def run_record(self, run: str, kind: str, step: int) -> str:
        """The commit of what a run had after ``step`` steps: created if absent, names the files. Sorted by step."""
        return f"{self.run_records(run, kind)}step-{step:09d}.json"

    def run_files(self, run: str, kind: str, step: int, nonce: str) -> str:
        """The prefix of one sender's files of that step; ``nonce`` keeps two of them apart."""
        return f"{self.run_records(run, kind)}step-{step:09d}.{safe_name(nonce)}/"

    def training_record(self, name: str) -> str:
        """The commit of a training folder that was sent."""
        return f"{self.training}{safe_name(name)}/committed.json"

    def training_files(self, name: str, nonce: str) -> str:
        """The prefix of one sender's files of a training folder."""
        return f"{self.training}{safe_name(name)}/{safe_name(nonce)}/"

    def duplex_set(self, name: str) -> str:
        """The prefix of a duplex data set; its ``manifest.json`` is the commit."""
        return f"{self.duplex}{safe_name(name)}/"


def shard_stem(language: str, number: int) -> str:
    """Path of a shard inside the data set without its ending: ``data/en/train-000007``."""
    return f"data/{language_subtag(language)}/train-{number:06d}"


def name_of(key: str) -> str:
    """The last part of a key without its ending: ``tasks/x_todo/a.b.task`` → ``a.b``; leases keep ``<id>.<attempt>``."""
    return key.rsplit("/", 1)[-1].rsplit(".", 1)[0]
