"""A small data set for all tests that only read it, and the same in a bucket of the S3 stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from duplexforge.storage import Store, open_store
from tests.duplex.folder import MadeFolder, write_folder
from tests.servers.s3_client import S3Server


def bodies(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name below it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> MadeFolder:
    """Four sides of three or four chunks in two files."""
    return write_folder(tmp_path_factory.mktemp("small") / "set", chunks=3)


@dataclass(frozen=True)
class Bucket:
    """The small data set below ``url``, and the store, in which it stands below ``sets/one/``."""

    url: str
    store: Store


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, small: MadeFolder) -> Bucket:
    """A bucket of its own, and its settings in the environment, as in use."""
    settings = s3_server.settings(s3_server.fresh_bucket())
    for name in ("R2_ENDPOINT_URL", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "STORE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")
    store = open_store(settings)
    for name, body in bodies(small.folder).items():
        store.put(f"sets/one/{name}", body)
    return Bucket(f"{settings.url}/sets/one", store)
