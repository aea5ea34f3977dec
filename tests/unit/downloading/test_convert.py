"""The fetched file as the audio that is kept, and yt-dlp's options from our settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from duplexforge.config import DownloadSettings
from duplexforge.downloading.audio import probe
from duplexforge.downloading.convert import as_audio
from duplexforge.downloading.item import Item
from duplexforge.downloading.site_options import extractor_args, site_options
from duplexforge.downloading.watch import Watch
from duplexforge.errors import ConfigError
from duplexforge.records import DownloadTask
from tests.unit.downloading.conftest import TONES, Calm, Place, Site
from tests.unit.downloading.test_web import queue_url

M4A = "mov,mp4,m4a,3gp,3g2,mj2"


def item_of(path: Path, folder: Path, extension: str | None) -> Item:
    """A fetched copy of a file."""
    copy = folder / "item"
    copy.write_bytes(path.read_bytes())
    return Item(copy, extension)


@pytest.mark.parametrize("name", sorted(TONES))
def test_everything_becomes_m4a_on_request(tones: Path, tmp_path: Path, name: str) -> None:
    item = item_of(tones / name, tmp_path, name.rpartition(".")[2])
    before = item.path.read_bytes()
    path, extension, seconds = as_audio(item, Calm(), "m4a")
    assert extension == "m4a"
    assert seconds == pytest.approx(1.0, abs=0.1)
    found = probe(path)
    assert found is not None
    assert (found.extension, found.has_audio) == ("m4a", True)
    # One that is an M4A already is not touched.
    assert (path.read_bytes() == before) == (name == "tone.m4a")


@pytest.mark.parametrize(("name", "extension"), [("tone.webm", "webm"), ("tone.opus", "opus"), ("tone.flac", "flac")])
def test_audio_is_kept_as_it_came_unless_told(tones: Path, tmp_path: Path, name: str, extension: str) -> None:
    path, found, _ = as_audio(item_of(tones / name, tmp_path, extension), Calm())
    assert (path.read_bytes(), found) == ((tones / name).read_bytes(), extension)


def test_a_name_that_lies_does_not_keep_a_file_from_conversion(tones: Path, tmp_path: Path) -> None:
    path, extension, _ = as_audio(item_of(tones / "tone.mp3", tmp_path, "m4a"), Calm(), "m4a")
    assert extension == "m4a"
    assert path.read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize("rate", [7_350, 44_100, 192_000])
def test_odd_rates_are_brought_to_one_that_aac_knows(tmp_path: Path, rate: int) -> None:
    import soundfile

    soundfile.write(tmp_path / "odd.wav", [[0.1, -0.1]] * rate, rate)
    path, _, seconds = as_audio(item_of(tmp_path / "odd.wav", tmp_path, "wav"), Calm(), "m4a")
    assert seconds == pytest.approx(1.0, abs=0.1)
    assert probe(path) is not None


def test_conversion_through_the_role(place: Place, site: Site) -> None:
    queue_url(place, site.url("files/tone.opus"))
    place.drain(audio_format="m4a")
    record = place.record()
    assert record.audio_key.endswith(".m4a")
    assert place.store.get(record.audio_key)[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("settings", "reason"), [({"min_seconds": 2}, "too_short"), ({"max_seconds": 0.5}, "too_long")]
)
def test_lengths_that_only_the_file_tells(place: Place, site: Site, settings: dict[str, float], reason: str) -> None:
    queue_url(place, site.url("files/tone.mp3"))
    assert place.drain(**settings).failed == 1
    assert place.failure().reason == reason
    assert place.records() == {}


# -- options ---------------------------------------------------------------------------------------------------------


def test_extractor_args() -> None:
    assert extractor_args(None) == {}
    found = extractor_args("youtube:player_client=web,tv;lang=en YouTubeTab:skip=webpage youtube:po-token=a")
    assert found == {
        "youtube": {"player_client": ["web", "tv"], "lang": ["en"], "po_token": ["a"]},
        "youtubetab": {"skip": ["webpage"]},
    }
    for wrong in ("youtube", ":a=b", "a=b"):
        with pytest.raises(ConfigError):
            extractor_args(wrong)


def test_a_wrong_setting_is_told_at_the_start(place: Place) -> None:
    with pytest.raises(ConfigError):
        place.step(extractor_args="nonsense")


def test_cookies_are_copied_and_never_written_back(tmp_path: Path) -> None:
    jar = tmp_path / "jar.txt"
    jar.write_text("# Netscape HTTP Cookie File\n.example.org\tTRUE\t/\tFALSE\t0\tname\ts3cret\n")
    jar.chmod(0o400)
    folder = tmp_path / "task"
    folder.mkdir()
    options = site_options(folder, DownloadSettings(cookies_file=str(jar)), Watch(1), only_audio=True)
    copy = Path(options["cookiefile"])
    assert copy.parent == folder
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.read_text() == jar.read_text()
    with pytest.raises(ConfigError, match="COOKIES_FILE"):
        site_options(folder, DownloadSettings(cookies_file=str(tmp_path / "none")), Watch(1), only_audio=True)


def test_options_follow_the_settings(tmp_path: Path) -> None:
    plain = site_options(tmp_path, DownloadSettings(), Watch(1), only_audio=True)
    assert (plain["format"], plain["ratelimit"], plain["proxy"], plain["cookiefile"]) == (
        "bestaudio/best",
        None,
        "",
        None,
    )
    wanted = DownloadSettings(rate_limit=1000, sleep_seconds=2, download_proxy="http://p:1", socket_timeout=3)
    found = site_options(tmp_path, wanted, Watch(1), only_audio=False)
    assert (found["format"], found["ratelimit"], found["sleep_interval_requests"]) == ("best/bestaudio", 1000, 2)
    assert (found["proxy"], found["socket_timeout"]) == ("http://p:1", 3)
    assert set(found["js_runtimes"]) == {"deno", "node"}


def test_a_video_task_keeps_the_sound_of_the_picture(place: Place, site: Site) -> None:
    place.queue.put(
        DownloadTask(id="v", episode_id="v", url=site.url("files/talk.mkv"), language="en", only_audio=False)
    )
    assert place.drain().completed == 1
    assert place.record().audio_key.endswith(".m4a")


def test_a_folder_without_room_for_the_cookies_is_a_setting_that_is_wrong(tmp_path: Path) -> None:
    jar = tmp_path / "jar.txt"
    jar.write_text("")
    with pytest.raises(ConfigError):
        site_options(tmp_path / "none", DownloadSettings(cookies_file=str(jar)), Watch(1), only_audio=True)
