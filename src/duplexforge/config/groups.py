"""The settings themselves: one frozen group per concern, each field with its variable, default and meaning."""

from __future__ import annotations

from pydantic import AliasChoices, Field, field_validator

from duplexforge.config.group import Group, OptionalFloat, OptionalInt, OptionalSecret, OptionalStr


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


class SqsSettings(Group):
    """SQS in place of the prefix queues of the download and upload stages; what is queued is known to the store all the same."""

    aws_queue_download: OptionalStr = None
    """URL of the SQS queue of the download stage; unset: a prefix queue in the store."""
    sqs_queue_url: OptionalStr = None
    """URL of the SQS queue of the upload stage; unset: a prefix queue in the store."""
    sqs_endpoint: OptionalStr = Field(default=None, validation_alias=AliasChoices("sqs_endpoint", "SQS_ENDPOINT_URL"))
    """Endpoint of an SQS-compatible service; unset: AWS. The store's endpoint is another one."""
    sqs_region: OptionalStr = None
    """Region of the queues; unset: what the queue's URL says, else AWS_REGION."""
    sqs_access_key_id: OptionalSecret = Field(
        default=None, validation_alias=AliasChoices("sqs_access_key_id", "SQS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID")
    )
    """Access key for SQS, which may differ from the store's (R2_…); unset: the platform's own identity."""
    sqs_secret_access_key: OptionalSecret = Field(
        default=None,
        validation_alias=AliasChoices("sqs_secret_access_key", "SQS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
    )
    """Secret of that key."""


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
    "seed": (StoreSettings, QueueSettings, SqsSettings, DownloadSettings, UploadSettings),
    "download": (StoreSettings, QueueSettings, SqsSettings, DownloadSettings),
    "process": (StoreSettings, QueueSettings, SqsSettings, ProcessSettings),
    "upload": (StoreSettings, QueueSettings, SqsSettings, UploadSettings),
    "status": (StoreSettings, QueueSettings, SqsSettings),
    "run": (StoreSettings, QueueSettings, SqsSettings, DownloadSettings, ProcessSettings, UploadSettings),
}
