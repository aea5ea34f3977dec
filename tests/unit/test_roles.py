"""How roles are put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duplexforge import config, roles
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.queues.sqs import SqsQueue
from duplexforge.records import Hours, Manifest

QUEUE = "https://sqs.eu-west-1.amazonaws.com/000000000000/name"


def site(folder: Path, **flags: str) -> roles.Site:
    return roles.open_site(config.load("seed", store_url=f"file://{folder}/store", **flags))


def manifest(episode: str, **fields: Any) -> Manifest:
    return Manifest(
        episode_id=episode, language="en", outcome="ok", attempt="a", folder="f/", files=[], segments=1, speakers=1,
        flagged=0, hours=Hours(), audio_key="k", config_hash="c", committed_at="-", **fields,
    )  # fmt: skip


def test_who_opts_out_is_not_published(tmp_path: Path) -> None:
    place = site(tmp_path)
    lines = ["yt-aaaaaaaaaaa", "example.org # a mail of May", "https://feeds.example/show.xml"]
    place.store.put(place.layout.opt_out(), "\n".join(lines).encode())
    refuses = roles.opted_out(place)
    assert refuses(manifest("yt-aaaaaaaaaaa")) is not None
    assert "example.org" in str(refuses(manifest("pod-1", url="https://media.example.org/1.mp3")))
    assert refuses(manifest("pod-2", url="https://cdn.example/2", origins=[lines[2]])) is not None
    assert refuses(manifest("pod-3", url="https://other.example/3.mp3")) is None
    assert refuses(manifest("file-1")) is None


@pytest.mark.parametrize(("stage", "kind"), [("download", SqsQueue), ("processing", PrefixQueue), ("upload", SqsQueue)])
def test_sqs_takes_the_place_of_two_queues(tmp_path: Path, stage: str, kind: type) -> None:
    assert type(site(tmp_path, aws_queue_download=QUEUE, sqs_queue_url=QUEUE).queue(stage)) is kind
    assert type(site(tmp_path, aws_queue_download="", sqs_queue_url="").queue(stage)) is PrefixQueue
