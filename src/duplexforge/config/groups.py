"""The settings themselves: one frozen group per concern, each field with its variable, default and meaning."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator

from duplexforge.config.autokick import AutokickSettings
from duplexforge.config.group import Group, OptionalFloat, OptionalInt, OptionalSecret, OptionalStr
from duplexforge.config.networks import networks
from duplexforge.config.serve import ServeSettings
from duplexforge.config.train import TrainSettings


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
    aws_session_token: OptionalSecret = None
    """Session token of temporary AWS keys; it is never sent to an R2 endpoint."""
    r2_session_token: OptionalSecret = None
    """Session token of temporary R2 keys."""
    aws_region: str = Field(
        default="auto", validation_alias=AliasChoices("aws_region", "AWS_REGION", "AWS_DEFAULT_REGION")
    )
    """Region; R2 and most compatible stores take ``auto``, which on AWS means us-east-1."""
    s3_addressing: Literal["auto", "path", "virtual"] = "auto"
    """Bucket in the ``path`` or as a ``virtual`` host; auto: virtual on AWS, path at another endpoint."""
    s3_checksum: Literal["", "SHA256", "CRC64NVME"] = ""
    """Additional checksum of uploads, for buckets that ask for one; empty: the hash in the signature, which all stores check."""
    s3_bulk_delete: bool = True
    """Remove many objects in one request; off for stores without DeleteObjects."""
    store_timeout: float = Field(default=30.0, ge=0.1, le=3600)
    """Seconds without a byte after which a connection to the store is given up, and for which a download may crawl."""
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
    sqs_session_token: OptionalSecret = Field(
        default=None, validation_alias=AliasChoices("sqs_session_token", "SQS_SESSION_TOKEN", "AWS_SESSION_TOKEN")
    )
    """Session token, when that key is a temporary one."""
    sqs_reconcile_seconds: float = Field(default=60.0, ge=0)
    """Seconds between two looks for tasks without a message, taken by one idle worker for all (0: whenever one is idle)."""
    sqs_hold_seconds: float = Field(default=42300.0, ge=1, le=43100)
    """An attempt that takes longer is ended and counted as failed: SQS hides no message for more than 12 hours (43,200 s)."""


class SeedSettings(Group):
    """How sources are read."""

    seed_threads: int = Field(default=8, ge=1, le=64)
    """Feeds and channels of a list that are read at the same time while seeding."""


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
    allow_private_addresses: str = "false"
    """``true``, or the private networks (``10.1.0.0/16,127.0.0.1``) that seeds, feeds and redirects may lead to."""
    download_proxy: OptionalSecret = None
    """Proxy of all downloads (``http://user:password@host:port``); HTTP_PROXY and its kin are not read."""
    cookies_file: OptionalStr = None
    """Cookies of a browser session in Netscape format, for sites that yt-dlp knows; read only, never copied to the store."""
    min_seconds: float = Field(default=0.0, ge=0, validation_alias=AliasChoices("min_seconds", "DOWNLOAD_MIN_SECONDS"))
    """Shortest recording that is taken, in seconds; 0: any."""
    max_seconds: float = Field(default=0.0, ge=0, validation_alias=AliasChoices("max_seconds", "DOWNLOAD_MAX_SECONDS"))
    """Longest recording that is taken, in seconds; 0: any."""
    rate_limit: OptionalInt = Field(
        default=None, ge=1, validation_alias=AliasChoices("rate_limit", "DOWNLOAD_RATE_LIMIT")
    )
    """Bytes a second that one download may take; unset: as fast as it comes."""
    sleep_seconds: float = Field(
        default=0.0, ge=0, le=3600, validation_alias=AliasChoices("sleep_seconds", "DOWNLOAD_SLEEP_SECONDS")
    )
    """Seconds between the requests that yt-dlp makes for one item."""
    extractor_args: OptionalStr = None
    """Arguments of yt-dlp's extractors as on its command line, blank between them: ``youtube:player_client=web,tv;lang=en``."""
    audio_format: Literal["keep", "m4a"] = "keep"
    """``keep`` stores audio as it came; ``m4a`` converts everything else to M4A (AAC)."""
    egress: str = "default"
    """Name of the address by which these pods leave: all that share it share its budgets and pauses."""
    site_requests_per_hour: int = Field(default=300, ge=0)
    """Items an hour that all pods of one egress ask of one site that yt-dlp knows by name; 0: no limit."""
    host_requests_per_hour: int = Field(default=0, ge=0)
    """The same for one host of plain audio files; 0: no limit."""
    respect_robots: bool = False
    """Ask a host's robots.txt before an item is fetched."""
    allowed_licences: OptionalStr = None
    """Licences that are taken, comma between them (``cc-by,cc0``), judged when the site has told its own; unset: all."""
    keep_partials: int = Field(default=32, ge=0, le=10_000)
    """Broken-off downloads that this machine keeps for a day, to go on where they ended; 0: none."""

    @field_validator("allow_private_addresses")
    @classmethod
    def _names_networks(cls, value: str) -> str:
        networks(value)
        return value

    @field_validator("download_proxy")
    @classmethod
    def _is_a_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        # Told here once: a proxy that cannot be used would fail every item, one by one.
        parts = urlsplit(value.get_secret_value()) if value else None
        if parts is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("must be http://host:port or https://host:port, with user:password@ where it asks for one")
        return value

    @field_validator("egress")
    @classmethod
    def _fits_a_key(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", value) or ".." in value:
            raise ValueError("must be a word of letters, digits, '.', '_' and '-'")
        return value


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
    uploads_at_once: int = Field(default=4, ge=1, le=64)
    """Shards under way in one upload process; each takes SHARD_BYTES of temporary disk while it is built and sent."""
    shards_per_commit: int = Field(default=50, ge=1, le=200)
    """At most this many shards go into one commit; the Hub slows down with long lists of files."""
    commit_seconds: float = Field(default=20.0, ge=0)
    """A finished shard waits this long for others of its process, so that they share a commit (the Hub counts commits)."""


class StatusSettings(Group):
    """What status asks and reckons with, beside what is in the store."""

    status_seconds: float = Field(default=15.0, ge=0.2, le=3600)
    """Seconds between two looks of ``status --watch`` and ``--serve``; a look that took long is followed by a longer pause."""
    gpu_price_per_hour: OptionalFloat = Field(default=None, ge=0)
    """Dollars for one GPU for one hour, for the cost of 1,000 hours of audio; unset: no cost is shown."""
    episodes_per_gpu: float = Field(default=1.0, gt=0, le=1024)
    """Episodes under way on one GPU at a time (WORKERS_PER_GPU × EPISODES_AT_ONCE), which share its price."""
    status_cluster: Literal["auto", "off"] = "auto"
    """``auto``: ask the cluster for the autokicker's last decisions where a kubeconfig or a service account leads to one."""
    namespace: OptionalStr = None
    """Namespace of the autokicker's Lease; unset: the pod's own, else the kubeconfig's."""
    kubeconfig: OptionalStr = None
    """File with the way to the cluster; unset: ``~/.kube/config`` where there is one, else the pod's service account."""
    lease_name: str = AutokickSettings.model_fields["lease_name"].default
    """The autokicker's Lease, which carries its last decisions."""


GROUPS: dict[str, tuple[type[Group], ...]] = {
    "seed": (StoreSettings, QueueSettings, SqsSettings, SeedSettings, DownloadSettings, UploadSettings),
    "download": (StoreSettings, QueueSettings, SqsSettings, DownloadSettings),
    "process": (StoreSettings, QueueSettings, SqsSettings, ProcessSettings),
    "upload": (StoreSettings, QueueSettings, SqsSettings, UploadSettings),
    "status": (StoreSettings, QueueSettings, SqsSettings, StatusSettings),
    "run": (StoreSettings, QueueSettings, SqsSettings, DownloadSettings, ProcessSettings, UploadSettings),
    "autokick": (StoreSettings, QueueSettings, SqsSettings, AutokickSettings),
    "duplex": (StoreSettings, QueueSettings, UploadSettings),
    "train": (TrainSettings, StoreSettings, QueueSettings),
    "serve": (ServeSettings,),
}
