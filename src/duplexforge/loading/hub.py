"""A duplex data set in a repository of the Hub: its files one by one, all from the commit of the manifest that was read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from duplexforge import config, log
from duplexforge.config import UploadSettings
from duplexforge.errors import ConfigError, RetryLater, Throttled
from duplexforge.loading.kept import compare, missing
from duplexforge.loading.schema import MANIFEST
from duplexforge.records import FileEntry

_ABSENT = ("EntryNotFoundError", "RemoteEntryNotFoundError")


@dataclass
class HubFolder:
    """A data set repository, or a folder in one; the client's own cache keeps the files (``cache_dir`` None: where it likes)."""

    repo_id: str
    folder: str
    revision: str
    cache: Path
    cache_dir: Path | None = None

    @classmethod
    def of(cls, text: str, revision: str | None, cache: Path, *, own: bool = False) -> HubFolder:
        """The place ``OWNER/NAME[@REVISION][/FOLDER]``; with ``own`` the client too keeps its files in ``cache``."""
        parts = text.strip("/").split("/")
        if len(parts) < 2 or not all(parts):
            raise ConfigError(f"hf://{text} names no repository: it is hf://OWNER/NAME")
        name, _, told = parts[1].partition("@")
        wanted = revision or told or "main"
        return cls(f"{parts[0]}/{name}", "/".join(parts[2:]), wanted, cache, cache / "hub" if own else None)

    @property
    def name(self) -> str:
        """Repository and revision."""
        return f"hf://{self.repo_id}@{self.revision}" + (f"/{self.folder}" if self.folder else "")

    def manifest(self) -> bytes | None:
        """As a place does. All further files come from the commit in which it was found, even when the branch moves on."""
        path = self._fetch(MANIFEST)
        if path is None:
            return None
        self.revision = path.parts[len(path.parts) - path.parts[::-1].index("snapshots")]
        return path.read_bytes()

    def path(self, entry: FileEntry) -> Path:
        """As a place does."""
        path = self._fetch(entry.name)
        if path is None:
            raise missing(self.name, entry)
        compare(path, entry, self.name, self.cache)
        return path

    def _fetch(self, name: str) -> Path | None:
        config.quiet_libraries()
        settings = config.load("upload")[UploadSettings]
        token = settings.hf_token.get_secret_value() if settings.hf_token else None
        log.hide(token)
        import huggingface_hub

        with _translated(self.repo_id, self.revision) as absent:
            return Path(
                huggingface_hub.hf_hub_download(
                    self.repo_id,
                    f"{self.folder}/{name}" if self.folder else name,
                    repo_type="dataset",
                    revision=self.revision,
                    cache_dir=self.cache_dir,
                    endpoint=settings.hf_endpoint,
                    token=token,
                )
            )
        assert absent
        return None


@contextmanager
def _translated(repo_id: str, revision: str) -> Iterator[list[str]]:
    """The boundary to the Hub's client: what it raises is one of ours, except a file that is not there: that is noted."""
    absent: list[str] = []
    try:
        yield absent
    except Exception as error:
        kind = type(error).__name__
        if kind not in _ABSENT:
            raise _ours(error, repo_id, revision) from error
        absent.append(kind)


def _ours(error: Exception, repo_id: str, revision: str) -> Exception:
    kind, answer = type(error).__name__, getattr(error, "response", None)
    status = getattr(answer, "status_code", None)
    if kind == "RevisionNotFoundError":
        return ConfigError(f"the data set {repo_id} has no revision {revision!r}")
    if kind == "HFValidationError" or status in (401, 403, 404):
        return ConfigError(
            f"the Hub shows no data set {repo_id}: check the name, and that HF_TOKEN is a token that may read it",
            reason="token",
        )
    told = " ".join(str(error).split()) or kind
    message = f"the Hub did not give a file of {repo_id}: {log.redact(told)[:300]}"
    if status == 429 or (status is not None and status >= 500):
        return Throttled(message, reason="hub")
    return RetryLater(message, reason="hub")
