"""Settings: frozen groups read once, at the edge, from flags, the environment, ``.env``, a TOML file and defaults.

This is the only module that touches the process environment. Field names are the lower-case variable names; where a second
spelling exists both work. :func:`load` gives a role the groups it needs and lists every wrong or missing value in one error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from duplexforge.errors import ConfigError

CONFIG_FILE = "DUPLEXFORGE_CONFIG"
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"

# An empty variable counts as unset: Kubernetes manifests often carry NAME="" for "not used".
EmptyIsUnset = BeforeValidator(lambda value: None if value == "" else value)
OptionalStr = Annotated[str | None, EmptyIsUnset]
OptionalInt = Annotated[int | None, EmptyIsUnset]
OptionalFloat = Annotated[float | None, EmptyIsUnset]
OptionalSecret = Annotated[SecretStr | None, EmptyIsUnset]

G = TypeVar("G", bound="Group")


class Group(BaseSettings):
    """Base of the settings groups: frozen, environment names without prefix, empty means unset."""

    model_config = SettingsConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        env_file=".env",
        env_ignore_empty=True,
        env_prefix="",
        extra="ignore",
        populate_by_name=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flag, environment, ``.env``, TOML file named by DUPLEXFORGE_CONFIG, default: the first that has a value wins."""
        sources = [init_settings, env_settings, dotenv_settings]
        if path := os.environ.get(CONFIG_FILE):
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=Path(path)))
        return tuple(sources)


class StoreSettings(Group):
    """Where objects live and under which prefixes."""

    store_url: str = ""
    """``file://./data``, ``s3://bucket`` or ``memory://``. Empty: ``s3://`` when a bucket is set below, else ``file://./data``."""
    bucket: OptionalStr = Field(default=None, validation_alias=AliasChoices("bucket", "R2_BUCKET", "S3_BUCKET_NAME"))
    """Bucket name, when STORE_URL does not carry it."""
    endpoint: OptionalStr = Field(
        default=None, validation_alias=AliasChoices("endpoint", "R2_ENDPOINT_URL", "R2_ENDPOINT", "AWS_ENDPOINT_URL")
    )
    """Endpoint of an S3-compatible store (R2 and others); unset: AWS."""
    access_key_id: OptionalSecret = Field(
        default=None, validation_alias=AliasChoices("access_key_id", "R2_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID")
    )
    """Access key; unset: the platform's own identity (instance role, web identity)."""
    secret_access_key: OptionalSecret = Field(
        default=None,
        validation_alias=AliasChoices("secret_access_key", "R2_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
    )
    """Secret of the access key."""
    aws_region: str = "auto"
    """Region; R2 and most compatible stores take ``auto``."""
    raw_audio_prefix: str = "raw_audio/"
    """Prefix of downloaded audio."""
    processed_prefix: str = "processed/"
    """Prefix of processed episodes; a new pipeline configuration gets a new one."""
    tasks_base_prefix: str = "tasks/"
    """Prefix of queues and batches."""

    @field_validator("raw_audio_prefix", "processed_prefix", "tasks_base_prefix")
    @classmethod
    def _ends_with_slash(cls, value: str) -> str:
        parts = value.strip("/").split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise ValueError("must be a folder name such as 'raw_audio/'")
        return "/".join(parts) + "/"

    @property
    def url(self) -> str:
        """The store's URL with the defaults applied."""
        if self.store_url:
            return self.store_url
        return f"s3://{self.bucket}" if self.bucket else "file://./data"


class QueueSettings(Group):
    """How tasks are claimed and kept."""

    lease_seconds: float = Field(default=300.0, ge=0.5, le=43200)
    """A lease that was not renewed for this long is taken over."""
    attempt_limit: int = Field(default=3, ge=1, le=100)
    """Failures (not pre-emptions) after which a task is given up."""
    retry_seconds: float = Field(default=30.0, ge=0)
    """First back-off of a task that failed for a temporary reason; doubles with each failure."""
    stall_seconds: float = Field(default=900.0, ge=1)
    """A handler that shows no progress for this long loses its lease."""
    drain_seconds: float = Field(default=25.0, ge=0)
    """After SIGTERM a running task may finish within this time, then it is handed back."""


class DownloadSettings(Group):
    """What the download role may fetch."""

    allow_file_urls: bool = False
    """Accept ``file:`` URLs in tasks (``duplexforge run`` on local files sets it; a cluster should not)."""
    max_bytes: int = Field(default=4 * 1024**3, ge=1, validation_alias=AliasChoices("max_bytes", "DOWNLOAD_MAX_BYTES"))
    """Largest file that is taken, in bytes."""
    socket_timeout: float = Field(
        default=30.0, gt=0, validation_alias=AliasChoices("socket_timeout", "DOWNLOAD_TIMEOUT")
    )
    """Seconds without a byte before a download is given up for now."""


class ProcessSettings(Group):
    """How the processing role runs the pipeline."""

    emilia_path: OptionalStr = None
    """Folder of the Emilia package; unset: ``Emilia/`` at the repository root."""
    emilia_preset: str = "lite"
    """Preset of ``Emilia/config.json``."""
    workers_per_gpu: int = Field(default=1, ge=1, le=64)
    """Processes per GPU (without a GPU: processes on this machine)."""
    max_gpus: int | None = Field(default=None, ge=0)
    """Use at most this many GPUs; unset: all."""
    asr_language: OptionalStr = None
    """Language of the speech; unset: what the task says, else detected where the engine can."""
    scratch_dir: OptionalStr = None
    """Folder for temporary files; unset: the system's."""
    episodes_at_once: OptionalInt = Field(default=None, ge=1, le=64)
    """Episodes under way in one process, each in another stage; unset: what the preset says."""
    batch_size: OptionalInt = Field(default=None, ge=1, le=1024)
    """Clips in one call of the recogniser; unset: what the preset says."""
    separation_chunks: OptionalFloat = Field(default=None, gt=2)
    """Seconds in a block of the published separation (``compat``); unset: 15."""
    separation_device: OptionalStr = None
    """Where separation runs: ``cpu`` or ``cuda:0``; unset: as the rest."""
    dnsmos_device: OptionalStr = None
    """Where DNSMOS runs: ``cpu`` or ``cuda:0``; unset: as the rest."""
    ort_cuda_mem_limit_gb: OptionalFloat = Field(default=None, gt=0)
    """GiB of GPU memory that each onnxruntime session may take; unset: no limit."""
    ort_cuda_mem_limit_fraction: OptionalFloat = Field(default=None, gt=0, le=1)
    """The same as a share of the GPU's memory; the smaller of both holds."""
    recycle_tasks: int = Field(default=500, ge=0)
    """A processing worker makes way for a fresh process after this many tasks; 0: never."""
    recycle_gib: float = Field(default=4.0, ge=0)
    """The same once its memory has grown by this many GiB since its first task; 0: never."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Seconds of work after which an episode's turns, segments and texts are saved for the next attempt."""


class UploadSettings(Group):
    """Where data sets are published."""

    hf_repo_id: OptionalStr = None
    """``owner/name`` of the Hugging Face data set; unset: a local folder."""
    hf_token: OptionalSecret = None
    """Token with write access to it; ``cache_models.py`` reads gated models with it."""
    hf_endpoint: OptionalStr = None
    """Another Hub than the public one."""
    publish_dir: str = "dataset"
    """Folder of the published data set when no HF_REPO_ID is set."""
    shard_bytes: int = Field(default=1_000_000_000, ge=1)
    """Audio bytes after which a batch is full."""


GROUPS: dict[str, tuple[type[Group], ...]] = {
    "seed": (StoreSettings, QueueSettings, UploadSettings),
    "download": (StoreSettings, QueueSettings, DownloadSettings),
    "process": (StoreSettings, QueueSettings, ProcessSettings),
    "upload": (StoreSettings, QueueSettings, UploadSettings),
    "status": (StoreSettings, QueueSettings),
    "run": (StoreSettings, QueueSettings, DownloadSettings, ProcessSettings, UploadSettings),
}


class Settings:
    """The groups that a role needs, by type: ``settings[StoreSettings].url``."""

    def __init__(self, groups: Mapping[type[Group], Group]) -> None:
        self._groups = dict(groups)

    def groups(self) -> tuple[Group, ...]:
        """All groups."""
        return tuple(self._groups.values())

    def __getitem__(self, group: type[G]) -> G:
        found = self._groups[group]
        assert isinstance(found, group)
        return found


def load(role: str, *, _defaults: Mapping[str, Any] | None = None, **flags: Any) -> Settings:
    """Settings of ``role``; ``flags`` (by field name, None meaning not given) win over everything.

    ``_defaults`` replace the built-in defaults of a command that wants others, and lose against everything else.
    Raises ConfigError naming every wrong value with its variable, not only the first.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    groups: dict[type[Group], Group] = {}
    problems: list[str] = []
    path = os.environ.get(CONFIG_FILE)
    if path and not Path(path).is_file():
        problems.append(f"{CONFIG_FILE}: no such file: {path}")
    for group in GROUPS[role]:
        mine = {name: value for name, value in given.items() if name in group.model_fields}
        try:
            read = group(**mine)
            unset = set(_defaults or {}) & set(group.model_fields) - read.model_fields_set
            groups[group] = read.model_copy(update={name: (_defaults or {})[name] for name in unset})
        except ValidationError as error:
            problems += [_complaint(group, item["loc"], item["msg"]) for item in error.errors(include_url=False)]
        except ValueError as error:  # a TOML file that does not parse
            problems.append(f"{CONFIG_FILE}: {error}")
    if problems:
        raise ConfigError("Wrong settings: " + "; ".join(dict.fromkeys(problems)))
    return Settings(groups)


def _complaint(group: type[Group], where: tuple[int | str, ...], message: str) -> str:
    name = str(where[0]) if where else "?"
    field = group.model_fields.get(name)
    variable = variables(name, field.validation_alias)[0] if field else name.upper()
    return f"{variable}: {message}"


def variables(name: str, alias: object) -> list[str]:
    """The environment names of a field, documented one first."""
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices if str(choice) != name]
    return [name.upper()]


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as variables, for a child process that reads them again."""
    found: dict[str, str] = {}
    for group in settings.groups():
        for name, field in type(group).model_fields.items():
            value = getattr(group, name)
            if value is not None:
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                found[variables(name, field.validation_alias)[0]] = text
    return found


def child_environment(**changes: str) -> dict[str, str]:
    """The environment for a child process with some variables set."""
    return {**os.environ, **changes}


def visible_gpus() -> list[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES allows, by index or UUID; None when it is not set, which allows all."""
    value = os.environ.get(VISIBLE_GPUS)
    return None if value is None else [name.strip() for name in value.split(",") if name.strip() not in ("", "-1")]


def quiet_libraries() -> None:
    """Set what libraries only read from the environment: no telemetry, no Xet transfer, no thread storms."""
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # Its warnings quote signed URLs.
        "HF_HUB_VERBOSITY": "error",
        "PYANNOTE_METRICS_ENABLED": "0",
    }.items():
        os.environ.setdefault(name, value)
