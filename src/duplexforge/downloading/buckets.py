"""Audio in buckets (``s3://bucket/prefix/``) as tasks, and one such object brought to this machine.

Buckets are read with the deployment's own endpoint and keys. Only what a person types or writes into a list of sources
names a bucket: a feed cannot (``identity.web_url``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from duplexforge.config import StoreSettings
from duplexforge.downloading.entries import Said
from duplexforge.downloading.identity import source_word
from duplexforge.downloading.item import Item
from duplexforge.downloading.local import MEDIA_EXTENSIONS
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.watch import Watch
from duplexforge.errors import InputError, UsageError
from duplexforge.layout import audio_extension, hashed_id
from duplexforge.objects import ObjectMeta
from duplexforge.records import DownloadTask
from duplexforge.storage import Store, open_store

SCHEME = "s3://"


def bucket_tasks(url: str, settings: StoreSettings, said: Said, notes: SeedReport) -> Iterator[DownloadTask]:
    """A task per audio object below ``url``, known by its key and tag: an object that was replaced is a new episode.

    UsageError when there is none, or when this is the deployment's own downloaded audio, which needs no download.
    """
    bucket, prefix = _parts(url)
    own = f"{settings.url.rstrip('/')}/"
    if f"{SCHEME}{bucket}/{prefix}/".startswith(own + settings.raw_audio_prefix):
        raise UsageError(f"{url} is this deployment's own audio: it is queued by `duplexforge seed process`")
    store = _store(settings, bucket)
    found = False
    for meta in _objects(store, prefix):
        if audio_extension(meta.key) is None:
            ending = Path(meta.key).suffix.lower()
            if ending.lstrip(".") not in MEDIA_EXTENSIONS or meta.key != prefix:
                notes.skipped[ending[:16] or "(no extension)"] += 1
                continue
        found = True
        yield _task(bucket, meta, said)
    if not found:
        raise UsageError(f"no audio below {url}: name another prefix")


def fetch_object(url: str, folder: Path, settings: StoreSettings, watch: Watch) -> Item:
    """Bring the object that an ``s3:`` URL names to ``folder``. InputError when it is gone or too large."""
    bucket, key = _parts(url)
    store = _store(settings, bucket)
    meta = store.head(key)
    if meta is None:
        raise InputError("the object is not there any more", reason="gone")
    watch.seen(meta.size)
    path = folder / "item"
    try:
        store.download(key, path)
    except FileNotFoundError as error:
        raise InputError("the object is not there any more", reason="gone") from error
    return Item(path, audio_extension(key))


def _parts(url: str) -> tuple[str, str]:
    bucket, _, rest = url.strip()[len(SCHEME) :].partition("/")
    if not bucket or any(letter in bucket for letter in "@:?#"):
        raise UsageError(f"{url[:200]} names no bucket: write s3://BUCKET/PREFIX/")
    return bucket, unquote(rest).strip("/")


def _store(settings: StoreSettings, bucket: str) -> Store:
    return open_store(settings.model_copy(update={"store_url": f"{SCHEME}{bucket}"}), create=False)


def _objects(store: Store, prefix: str) -> Iterator[ObjectMeta]:
    # A prefix is a folder; a key named in full is itself.
    if prefix and (alone := store.head(prefix)) is not None:
        yield alone
        return
    yield from store.list(f"{prefix}/" if prefix else "")


def _task(bucket: str, meta: ObjectMeta, said: Said) -> DownloadTask:
    folder, _, name = meta.key.rpartition("/")
    episode = hashed_id("url", SCHEME, bucket, meta.key, meta.etag or "")
    return DownloadTask(
        id=episode,
        episode_id=episode,
        url=f"{SCHEME}{bucket}/{quote(meta.key)}",
        language=said.language,
        source=source_word(said.source or folder.rpartition("/")[2] or bucket, "bucket"),
        licence=said.licence,
        title=name,
    )
