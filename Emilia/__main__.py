"""``python -m Emilia FILE --out DIR``: one file through the pipeline on this machine, without any account.

Exit codes: 0 done, 2 usage or configuration, 65 the input is bad, 69 a model is missing, 75 the GPU broke.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import Emilia
from Emilia.pipeline import Result

BAD_USAGE, BAD_INPUT, NO_MODEL, TRY_AGAIN = 2, 65, 69, 75


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code and prints one sentence on stderr where it is not 0."""
    chosen = _parser().parse_args(arguments)
    if not chosen.file.is_file():
        return _fail(f"There is no file {chosen.file}.", BAD_INPUT)
    try:
        result, models = _process(chosen)
    except Emilia.BadAudio as error:
        return _fail(str(error), BAD_INPUT)
    except Emilia.ModelMissing as error:
        return _fail(str(error), NO_MODEL)
    except Emilia.BadConfig as error:
        return _fail(str(error), BAD_USAGE)
    except Emilia.DeviceLost as error:
        return _fail(f"{error} Start again.", TRY_AGAIN)
    print(_as_json(result, models) if chosen.json else _as_table(result, models))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m Emilia", description="Process one audio file into speech segments."
    )
    parser.add_argument("file", type=Path, help="audio file of any usual format")
    parser.add_argument("--out", type=Path, required=True, help="folder for the segments (made when absent)")
    parser.add_argument("--preset", default="lite", help="preset of the configuration (default: lite)")
    parser.add_argument("--episode", help="name of the episode (default: the file's name)")
    parser.add_argument("--language", help="language as a code such as en or en-GB (default: unknown)")
    parser.add_argument("--config", type=Path, help="configuration file (default: the packaged one)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", help="replace an option of the preset"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda:<n> (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _process(chosen: argparse.Namespace) -> tuple[Result, dict[str, str]]:
    config = Emilia.load_config(chosen.config, chosen.preset, dict(_option(text) for text in chosen.set))
    pipeline = Emilia.Pipeline(config, chosen.device)
    pipeline.load()
    episode = re.sub(r"[^\w.-]+", "-", chosen.episode or chosen.file.stem).lstrip(".") or "episode"
    with tempfile.TemporaryDirectory(prefix="emilia-") as scratch:
        result = pipeline.run(
            chosen.file,
            episode=episode,
            out=chosen.out,
            scratch=Path(scratch),
            language=chosen.language and re.split("[-_]", chosen.language.lower())[0],
            progress=_progress,
        )
    models = pipeline.models
    pipeline.close()
    return result, models


def _option(text: str) -> tuple[str, object]:
    """``section.option`` and the value: JSON where it is JSON, else the text itself."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _progress(stage: str, share: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{stage:<12} {share:4.0%}", end="\n" if share >= 1.0 else "", file=sys.stderr, flush=True)


def _as_json(result: Result, models: dict[str, str]) -> str:
    content = {**vars(result), "segments": [segment.to_json() for segment in result.segments], "models": models}
    return json.dumps(content, ensure_ascii=False, indent=1)


def _as_table(result: Result, models: dict[str, str]) -> str:
    kept = sum(not segment.flags for segment in result.segments)
    total = sum(result.seconds.values())
    rows = [
        ("episode", result.episode),
        ("outcome", result.outcome),
        ("source", f"{result.duration:.1f} s"),
        ("speakers", str(result.facts.get("speakers", 0))),
        ("segments", f"{len(result.segments)}, {kept} without a flag"),
        *((f"  {stage}", _speed(result.duration, seconds)) for stage, seconds in result.seconds.items()),
        ("all stages", _speed(result.duration, total)),
        *((f"  {model}", version) for model, version in models.items()),
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)


def _speed(duration: float, seconds: float) -> str:
    return f"{seconds:8.2f} s  {seconds / duration:6.3f} x real time" if duration else f"{seconds:8.2f} s"


def _fail(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
