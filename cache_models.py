#!/usr/bin/env python3
"""``python cache_models.py``: fetch the pipeline's models at their pinned revisions and check every byte.

Nothing looks complete that is not: a file is written beside its place, its SHA-256 compared with the registry (key
``models`` of ``Emilia/config.json``) and with what the Hub states for it, then moved into its place. What is right
already is left alone; what is wrong is replaced. Without network or token all that can be had is fetched, and the rest
is named with what to do. Reads HF_TOKEN and HF_ENDPOINT. Exit codes: 0 all there; 2 usage; 69 a model is missing, gated
or damaged; 75 only the network is to blame, so try again; 78 a wrong setting.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import stamina

from duplexforge import config, log
from duplexforge.config import Group, ProcessSettings, UploadSettings
from duplexforge.errors import ConfigError, DuplexforgeError, ModelError, RetryLater
from duplexforge.processing import emilia
from duplexforge.processing.model_files import (
    Access,
    Content,
    Offer,
    Refused,
    Unreachable,
    ask_hub,
    download,
    megabytes,
)
from Emilia import registry
from Emilia.config import DEFAULT, load_config
from Emilia.errors import BadConfig
from Emilia.registry import File, Lock, Model

_ATTEMPTS = 4

G = TypeVar("G", bound=Group)


@dataclass(frozen=True)
class Outcome:
    """What became of one model: ``state`` is there, fetched, missing, damaged, unreadable, gated or network; one of
    ``sentences`` for each file that is wrong.
    """

    model: str
    state: str
    sentences: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code and prints what became of each model."""
    chosen = _parser().parse_args(arguments)
    try:
        models = _chosen(chosen)
        if chosen.list:
            _print_list(models, chosen)
            return 0
        folder = chosen.to or emilia.folder(_settings(ProcessSettings)) / "models"
        outcomes = _check_all(models, folder) if chosen.check else _fetch_all(models, folder)
    except BadConfig as error:
        print(error, file=sys.stderr)
        return ConfigError.exit_code
    except DuplexforgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    _print(outcomes, chosen.json)
    wrong = {outcome.state for outcome in outcomes} - {"there", "fetched"}
    return 0 if not wrong else RetryLater.exit_code if wrong == {"network"} else ModelError.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cache_models.py", description="Fetch and check the pipeline's models."
    )
    parser.add_argument("--preset", help="only what this preset of the configuration needs (default: every model)")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="only these models; --list has the names")
    parser.add_argument("--to", type=Path, help="folder of the models (default: models/ of the Emilia package)")
    parser.add_argument("--check", action="store_true", help="fetch nothing, read and check every byte")
    parser.add_argument("--list", action="store_true", help="fetch nothing, list the models")
    parser.add_argument("--config", type=Path, help="configuration file (default: Emilia/config.json)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _settings(group: type[G]) -> G:
    return config.load("run")[group]


def _chosen(chosen: argparse.Namespace) -> list[Model]:
    models = registry.load_registry(chosen.config)
    if unknown := sorted(set(chosen.models or ()) - set(models)):
        raise BadConfig(f"There is no model called {unknown[0]!r}; the models are {', '.join(models)}.")
    wanted = [model for model in models.values() if not chosen.models or model.name in chosen.models]
    return registry.needed(wanted, load_config(chosen.config, chosen.preset)) if chosen.preset else wanted


def _check_all(models: Sequence[Model], folder: Path) -> list[Outcome]:
    lock, outcomes = registry.read_lock(folder), []
    for model in models:
        found = registry.faults(model, folder, lock)
        state = found[0].kind if found else "there"
        outcomes.append(Outcome(model.name, state, tuple(fault.sentence for fault in found)))
    return outcomes


# -- fetching ----------------------------------------------------------------------------------------------------------


def _fetch_all(models: Sequence[Model], folder: Path) -> list[Outcome]:
    config.quiet_libraries()
    import huggingface_hub

    settings = _settings(UploadSettings)
    # Without HF_TOKEN what `hf auth login` left does as well.
    token = settings.hf_token.get_secret_value() if settings.hf_token else huggingface_hub.get_token()
    log.hide(token)
    with _alone(folder):
        lock = registry.read_lock(folder)
        return [_fetch(model, folder, lock, Access(settings.hf_endpoint, token)) for model in models]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second run out of ``folder``: two writers would take each other's half-fetched file for their own."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"the models' folder {folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise RetryLater(f"another cache_models.py is at work in {folder}: wait for it") from error
    finally:
        os.close(handle)


def _fetch(model: Model, folder: Path, lock: Lock, access: Access) -> Outcome:
    """Bring one model into order; whatever stands in the way is its outcome, so that the others get their turn."""
    state = "there"
    # Weights come last: an engine takes a folder for a model when its weights are in it.
    for file in sorted(model.files, key=lambda one: one.size or 0):
        if _right(model, file, folder, lock):
            continue
        target = registry.place(model, file, folder)
        try:
            found, revision = _fetch_file(model, file, target, lock, access)
            _record(folder, lock, model, found, revision)
        except Refused as refusal:
            return Outcome(model.name, refusal.state, (str(refusal),))
        except OSError as error:
            return Outcome(model.name, "unreadable", (f"{target} cannot be written: {error.strerror or error}",))
        state = "fetched"
    return Outcome(model.name, state)


def _right(model: Model, file: File, folder: Path, lock: Lock) -> bool:
    """Whether ``file`` is here and known to be what was published; one that nobody vouches for is not."""
    if registry.faults(dataclasses.replace(model, files=(file,)), folder, lock):
        return False
    return bool(registry.expected(model, file, lock).sha256 or registry.packaged(model, file))


def _fetch_file(model: Model, file: File, target: Path, lock: Lock, access: Access) -> tuple[File, str]:
    must = registry.expected(model, file, lock)
    if not model.repo and not model.url:
        name = model.package.partition("/")[0].replace("_", "-")
        raise Refused("missing", f"{file.name} comes with a package: pip install -c requirements.txt {name}")
    # What the first fetch of an unpinned model found stays, until somebody deletes the record.
    revision = model.revision or lock.get(model.name, {}).get("revision") or "main"
    for attempt in stamina.retry_context(on=Unreachable, attempts=_ATTEMPTS, wait_initial=0.3, wait_jitter=0.3):
        with attempt:
            if model.repo:
                offer = ask_hub(model.repo, file.name, revision, access, model.gated)
            else:
                offer = Offer(f"{model.url}/{file.name}")
            return File(file.name, *download(offer, Content(must.sha256, must.size), target)), offer.revision
    raise AssertionError("the last attempt returns or raises")


def _record(folder: Path, lock: Lock, model: Model, found: File, revision: str) -> None:
    if lock.get(model.name, {}).get("revision") != revision:
        lock[model.name] = {"revision": revision, "files": {}}
    lock[model.name]["files"][found.name] = {"sha256": found.sha256, "size": found.size}
    registry.write_lock(folder, lock)


# -- what a person reads -----------------------------------------------------------------------------------------------


def _print(outcomes: Sequence[Outcome], as_json: bool) -> None:
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in outcomes], indent=1, ensure_ascii=False))
        return
    for one in outcomes:
        print("\n    ".join((f"{one.model:<22} {one.state}", *one.sentences)))


def _print_list(models: Sequence[Model], chosen: argparse.Namespace) -> None:
    presets = json.loads((chosen.config or DEFAULT).read_text())["presets"]
    users = {name: registry.needed(models, load_config(chosen.config, name)) for name in presets}
    rows = [_row(model, [name for name, wanted in users.items() if model in wanted]) for model in models]
    if chosen.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for row in rows:
        users_of = ", ".join(row["presets"]) or "on demand"
        print(f"{row['model']:<22} {row['stage']:<11} {users_of:<13} {megabytes(row['bytes']):>14}  {row['licence']}")
        print(f"    {row['what']}; {row['pinned']}\n    {row['source']}")
        for page in row["gated"]:
            print(f"    gated: accept the conditions on {page}")


def _row(model: Model, presets: list[str]) -> dict[str, Any]:
    sources = [
        f"https://huggingface.co/{model.repo} at {model.revision or 'main'}" if model.repo else "",
        model.url,
        f"the package {model.package.partition('/')[0]}" if model.package else "",
    ]
    only_packaged = not model.repo and not model.url
    pinned = "every file pinned by SHA-256" if model.pinned else "not pinned yet: first fetch pins it"
    return {
        "model": model.name,
        "stage": model.stage,
        "presets": presets,
        "bytes": model.size,
        "licence": model.licence,
        "what": model.what,
        "source": ", or ".join(source for source in sources if source),
        "pinned": "pinned by the package's version" if only_packaged else pinned,
        "gated": list(model.gated),
        "files": {file.name: file.sha256 for file in model.files},
    }


if __name__ == "__main__":
    log.setup(level="ERROR")  # what matters of a failed attempt is said once, at the end
    raise SystemExit(main())
