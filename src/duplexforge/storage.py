"""One object store, whatever it is: a folder, S3, R2 or another S3-compatible service, or memory.

A thin module over obstore. It adds what the product's correctness rests on: :meth:`Store.put_if_absent` that is exact even
when an answer was lost, whole folders that are sent or raise, typed errors, and :meth:`Store.now`, the *store's* clock, by
which leases expire.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
import stamina
from obstore import exceptions as failures
from obstore.store import LocalStore, MemoryStore, S3Store

from duplexforge.config import StoreSettings
from duplexforge.errors import ConfigError, InputError, StoreError
from duplexforge.records import FileEntry

# Conditional writes are one request; above this size a file is sent in parts, which cannot be conditional.
SINGLE_PUT_LIMIT = 64 * 1024 * 1024
PAGE = 1000
_CLOCK_SECONDS = 600.0

T = TypeVar("T")


@dataclass(frozen=True)
class ObjectMeta:
    """What a listing tells: key, size in bytes, entity tag, modification time in seconds of the store's clock."""

    key: str
    size: int
    etag: str | None
    modified: float


class Store:
    """An object store below one URL. Safe to share between threads."""

    def __init__(self, url: str, backend: Any, *, attempts: int = 6) -> None:
        self.url = url
        self._backend = backend
        self._attempts = attempts
        self._clock: tuple[float, float] | None = None
        self._clock_lock = threading.Lock()

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """The object's bytes. FileNotFoundError when there is none."""
        return self._call(lambda: bytes(obstore.get(self._backend, key).bytes()), key)

    def find(self, key: str) -> bytes | None:
        """The object's bytes, or None when there is none."""
        try:
            return self.get(key)
        except FileNotFoundError:
            return None

    def head(self, key: str) -> ObjectMeta | None:
        """Size, tag and time of an object, or None when there is none."""
        try:
            return _meta(self._call(lambda: obstore.head(self._backend, key), key))
        except FileNotFoundError:
            return None

    def download(self, key: str, path: Path) -> str:
        """Write the object to ``path`` in a stream; return its sha256. FileNotFoundError when there is none."""
        return self._call(lambda: self._download_once(key, path), key)

    def _download_once(self, key: str, path: Path) -> str:
        digest = hashlib.sha256()
        answer = obstore.get(self._backend, key)
        with path.open("wb") as file:
            for chunk in answer.stream(min_chunk_size=1 << 20):
                block = bytes(chunk)
                digest.update(block)
                file.write(block)
        if path.stat().st_size != answer.meta["size"]:
            raise StoreError(f"{key} arrived cut short", reason="truncated")
        return digest.hexdigest()

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectMeta]:
        """Objects below ``prefix`` (ends with ``/``) in key order; only keys greater than ``after`` when it is given."""
        for page in self.pages(prefix, after=after):
            yield from page

    def pages(self, prefix: str, *, after: str | None = None) -> Iterator[list[ObjectMeta]]:
        """The listing in pages of up to 1,000, so that a caller can stop after the first."""
        listing = self._call(
            lambda: obstore.list(self._backend, prefix.rstrip("/"), offset=after, chunk_size=PAGE), prefix
        )
        if isinstance(self._backend, LocalStore):
            yield from _sorted_pages(listing)
            return
        pages = iter(listing)
        while (page := self._call(lambda: next(pages, None), prefix, attempts=1)) is not None:
            yield [_meta(item) for item in page]

    def folders(self, prefix: str) -> list[str]:
        """The prefixes one level below ``prefix``, each with its final ``/``."""
        found = self._call(lambda: obstore.list_with_delimiter(self._backend, prefix.rstrip("/") or None), prefix)
        return [f"{name.rstrip('/')}/" for name in found["common_prefixes"]]

    # -- writing ---------------------------------------------------------------------------------------------------

    def put_if_absent(self, key: str, body: bytes) -> bool:
        """Create ``key``; True when this call created it, False when it was there.

        A lost answer is followed by a second try that finds the object: then the bytes decide whether it is ours, so
        bodies that must tell two writers apart carry a nonce.
        """
        unsure = False
        for attempt in self._tries(self._attempts):
            with attempt, _translated(key):
                try:
                    obstore.put(self._backend, key, body, mode="create")
                except failures.AlreadyExistsError:
                    return unsure and self.find(key) == body
                except failures.BaseError:
                    unsure = True
                    raise
        return True

    def put(self, key: str, body: bytes) -> None:
        """Create or replace an object that only its owner writes (a lease, a generated card)."""
        self._call(lambda: obstore.put(self._backend, key, body), key)

    def upload(self, path: Path, key: str, *, absent: bool = False) -> bool:
        """Send a file. With ``absent`` only when the key is free (False otherwise; at most SINGLE_PUT_LIMIT bytes)."""
        if absent:
            return self.put_if_absent(key, path.read_bytes())
        self._call(lambda: obstore.put(self._backend, key, path), key)
        return True

    def send_folder(self, folder: Path, prefix: str, *, threads: int = 8) -> list[FileEntry]:
        """Send every file below ``folder`` to ``prefix``; return their entries sorted by name, or raise on the first failure."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        entries = [file_entry(path, path.relative_to(folder).as_posix()) for path in files]
        with ThreadPoolExecutor(max_workers=threads) as pool:
            sent = [pool.submit(self.upload, path, prefix + entry.name) for path, entry in zip(files, entries, strict=True)]
            for future in sent:
                future.result()
        return entries

    def delete(self, keys: str | Sequence[str]) -> None:
        """Remove objects; a key that is not there is no error."""
        names = [keys] if isinstance(keys, str) else list(keys)
        for start in range(0, len(names), PAGE):
            self._delete_page(names[start : start + PAGE])

    def _delete_page(self, names: list[str]) -> None:
        try:
            self._call(lambda: obstore.delete(self._backend, names), names[0] if names else "")
        except FileNotFoundError:
            # A folder store stops at the first missing file: take the rest one by one.
            for name in names:
                try:
                    self._call(lambda name=name: obstore.delete(self._backend, [name]), name)  # type: ignore[misc]
                except FileNotFoundError:
                    continue

    # -- the store's clock and its probe ---------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds on the store's clock: an object's modification time read back, carried on by a monotonic clock."""
        with self._clock_lock:
            if self._clock is None or time.monotonic() - self._clock[1] > _CLOCK_SECONDS:
                self._clock = self._read_clock()
            return self._clock[0] + time.monotonic() - self._clock[1]

    def _read_clock(self) -> tuple[float, float]:
        key = f"tasks/.probe/{uuid.uuid4().hex}"
        started = time.monotonic()
        self.put(key, b"clock")
        meta = self.head(key)
        self.delete(key)
        if meta is None:
            raise StoreError(f"{self.url} does not show an object that was just written", reason="not_consistent")
        return meta.modified, started

    def probe(self) -> None:
        """Check that the store can be written, read and deleted and that create-if-absent holds; ConfigError otherwise."""
        key = f"tasks/.probe/{uuid.uuid4().hex}"
        try:
            first, second = self.put_if_absent(key, b"first"), self.put_if_absent(key, b"second")
            seen = self.find(key)
        finally:
            self.delete(key)
        if not first or second or seen != b"first":
            raise ConfigError(
                f"{self.url} ignores create-if-absent (If-None-Match: *), on which the claim of tasks rests: "
                "use AWS S3, Cloudflare R2, another store with conditional writes, or a folder (file://…)"
            )

    # -- shared ----------------------------------------------------------------------------------------------------

    def _call(self, request: Any, key: str, *, attempts: int | None = None) -> Any:
        for attempt in self._tries(attempts or self._attempts):
            with attempt, _translated(key):
                return request()
        raise AssertionError("the last attempt returns or raises")

    @staticmethod
    def _tries(attempts: int) -> Iterable[Any]:
        return stamina.retry_context(
            on=StoreError, attempts=attempts, timeout=90.0, wait_initial=0.1, wait_max=8.0, wait_jitter=0.5
        )


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Turn obstore's errors into ours; FileNotFoundError and AlreadyExists stay what they are."""
    try:
        yield
    except (failures.PermissionDeniedError, failures.UnauthenticatedError, PermissionError) as error:
        raise ConfigError(f"the store refused {key}: check the access key and its policy ({_short(error)})") from error
    except failures.InvalidPathError as error:
        raise InputError(f"{key!r} is not a valid object key", reason="bad_key") from error
    except failures.AlreadyExistsError:
        raise
    except failures.BaseError as error:
        raise StoreError(f"the store did not answer for {key}: {_short(error)}") from error


def _short(error: BaseException) -> str:
    # obstore's messages carry the whole request after the first line; the first is what a person can use.
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def _meta(raw: Any) -> ObjectMeta:
    return ObjectMeta(raw["path"], raw["size"], raw.get("e_tag"), raw["last_modified"].timestamp())


def _sorted_pages(listing: Iterable[Any]) -> Iterator[list[ObjectMeta]]:
    # A folder is walked in directory order, so its pages exist only once all of it was seen.
    found = sorted((_meta(item) for page in listing for item in page), key=lambda meta: meta.key)
    for start in range(0, len(found), PAGE):
        yield found[start : start + PAGE]


def file_entry(path: Path, name: str) -> FileEntry:
    """Name, size and sha256 of a local file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(name=name, size=path.stat().st_size, sha256=digest)


def open_store(settings: StoreSettings) -> Store:
    """The store that the settings name. ConfigError when the URL makes no sense or a folder cannot be written."""
    scheme, _, rest = settings.url.partition("://")
    if scheme == "memory":
        return Store(settings.url, MemoryStore())
    if scheme == "file":
        return _open_folder(Path(rest).expanduser())
    if scheme == "s3" and rest:
        return _open_s3(settings, rest)
    raise ConfigError(f"STORE_URL: {settings.url!r} is not file://FOLDER, s3://BUCKET or memory://")


def _open_folder(folder: Path) -> Store:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker = folder / f".writable-{uuid.uuid4().hex}"
        marker.touch()
        marker.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror or error}") from error
    return Store(f"file://{folder}", LocalStore(folder.resolve()))


def _open_s3(settings: StoreSettings, rest: str) -> Store:
    bucket, _, prefix = rest.partition("/")
    options: dict[str, Any] = {"region": settings.aws_region}
    if settings.endpoint:
        options["endpoint"] = settings.endpoint
        options["virtual_hosted_style_request"] = False
    if settings.access_key_id and settings.secret_access_key:
        options["access_key_id"] = settings.access_key_id.get_secret_value()
        options["secret_access_key"] = settings.secret_access_key.get_secret_value()
    backend = S3Store(
        bucket,
        prefix=prefix or None,
        **options,
        client_options={
            # A large object may take long; a connection that gives no byte for half a minute is dead.
            "timeout": timedelta(hours=1),
            "read_timeout": timedelta(seconds=30),
            "connect_timeout": timedelta(seconds=10),
            "allow_http": (settings.endpoint or "").startswith("http://"),
        },
        # Retries are ours: a repeated conditional write must know that it is a repetition.
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=60)},
    )
    return Store(settings.url, backend)
