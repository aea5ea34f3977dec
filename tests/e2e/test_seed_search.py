"""``seed`` and ``search`` as they are typed: pipes, short names, flags, and answers for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RESULTS = [{"video_id": f"{number:011d}", "title": f"Talk {number}", "duration": 60 * number} for number in range(1, 9)]


def typed(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What bash makes of ``script``, in which ``$D`` is the command."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "D": f"{sys.executable} -m duplexforge",
        **variables,
    }
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON that it printed."""
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with saved search results."""
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    return tmp_path


@pytest.mark.parametrize(
    "script",
    [
        "$D seed download results.json --json",
        "$D seed results.json --json",
        "$D seed --json results.json",
        "cat results.json | $D seed - --json",
        "$D seed download <(cat results.json) --json",
    ],
)
def test_results_are_a_source_however_they_come(folder: Path, script: str) -> None:
    assert report(typed(script, folder))["added"] == len(RESULTS)
    assert report(typed(script, folder))["known"] == len(RESULTS)


def test_a_seeded_choice_is_the_same_again_and_is_recorded(folder: Path) -> None:
    script = "$D seed results.json --shuffle --shuffle-seed 7 --download-count 3 --only-audio --json"
    assert report(typed(f"{script} --dry-run", folder))["added"] == 3
    assert not list(folder.glob("data/tasks/download_todo/*"))
    report(typed(script, folder))
    tasks = [json.loads(path.read_text()) for path in sorted(folder.glob("data/tasks/download_todo/*.task"))]
    assert [task["only_audio"] for task in tasks] == [True] * 3
    assert report(typed(script, folder))["known"] == 3


def test_lists_of_what_is_known_and_who_opted_out(folder: Path) -> None:
    (folder / "archive.txt").write_text("youtube 00000000001\n")
    (folder / "no.txt").write_text("00000000002  # by mail\n")
    (folder / "data" / "tasks").mkdir(parents=True)
    (folder / "data" / "tasks" / "opt_out.txt").write_text("yt-00000000003\n")
    found = report(typed("$D seed results.json --archive archive.txt --opt-out no.txt --json", folder))
    assert (found["added"], found["left_out"]) == (5, {"archive": 1, "opt_out": 2})


def test_feeds_are_deferred_under_a_round(folder: Path) -> None:
    (folder / "feeds.csv").write_text("feed_url,language\nhttps://a.example/1.xml,de\nhttp://10.0.0.1/2.xml,de\n")
    for script, added in (("--defer", 1), ("--defer", 0), ("--defer --round two", 1)):
        found = report(typed(f"$D seed feeds.csv {script} --json", folder))
        assert (found["added"], found["left_out"]) == (added, {"refused": 1})


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("$D seed nothing.json", 2, "nothing.json"),
        ("$D seed results.json --opt-out none.txt", 2, "none.txt"),
        ("$D seed results.json --archive none.txt", 2, "none.txt"),
        ("echo '- source: a\n  langauge: en' > s.yaml; $D seed s.yaml", 2, "did you mean language?"),
        ("echo '[1,' | $D seed -", 65, "standard input is not JSON"),
        ("$D search words --min-length 9 --max-length 3", 2, "--min-length"),
        ("$D search words --output-format xml", 2, "xml"),
        ("DOWNLOAD_PROXY=http://127.0.0.1:9 $D search words", 75, "127.0.0.1"),
    ],
)
def test_mistakes_get_one_sentence_and_a_code(folder: Path, script: str, code: int, words: str) -> None:
    done = typed(script, folder, ALLOW_PRIVATE_ADDRESSES="127.0.0.1")
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
