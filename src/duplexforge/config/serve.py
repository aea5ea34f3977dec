"""The settings of the server, and its own TOML file: ``[audio]``, ``[qwen]`` and ``[server]``, as in ``examples/serve.toml``."""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from duplexforge.config.group import Group, OptionalInt, OptionalSecret, OptionalStr
from duplexforge.errors import ConfigError

_CONFIG = "sca_config"
_AUDIO = ("frame_hz", "frames_per_chunk", "sample_rate", "output_sample_rate")
_SPELLED = {"sca_qwen_attn_impl": ("qwen", "attn_implementation")}


class ServeSettings(Group):
    """What ``duplexforge serve`` loads, where it listens, and what one client may take."""

    sca_config: OptionalStr = None
    """TOML file with ``[audio]``, ``[qwen]`` and ``[server]``; a variable wins over it, a flag over both."""
    sca_backend: Literal["s2s", "echo"] = "s2s"
    """What answers: ``s2s`` the speech-to-speech model, ``echo`` the user's own voice."""
    sca_weights: OptionalStr = None
    """Weights of the speech-to-speech model; unset: those that come with the project."""
    sca_engine: Literal["plain", "onnx", "torch"] = "plain"
    """What runs it: ``plain`` (numpy), ``onnx``, ``torch``."""
    sca_slots: int = Field(default=4, ge=1, le=4096)
    """Conversations at a time; one more is refused at once."""
    sca_host: str = "127.0.0.1"
    """Address to listen on. This machine alone, because whoever reaches it may talk; ``0.0.0.0``: all, then with SCA_KEYS."""
    sca_port: OptionalInt = Field(default=None, ge=0, le=65535)
    """Port; unset: 8000, and 8080 or 8010 when it is taken. One that is named and taken is an error; 0: any free one."""
    sca_frame_hz: float = Field(default=12.5, gt=0, le=1000)
    """Frames a second of the protocol ``/ws/pcm16``."""
    sca_frames_per_chunk: int = Field(default=4, ge=1, le=1000)
    """Frames of a chunk there: each chunk is answered by one message."""
    sca_sample_rate: int = Field(default=16000, ge=8000, le=48000)
    """Samples a second that clients send when they do not say it."""
    sca_output_sample_rate: int = Field(default=24000, ge=8000, le=48000)
    """Samples a second that clients get when they do not say it."""
    sca_qwen_model_id: str = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
    """Model of the backend for Qwen3-Omni, which is not there yet (nor read by anything): a name at Hugging Face, or a folder."""
    sca_qwen_device_map: str = "auto"
    """Where it runs: ``auto``, ``cpu``, ``cuda:0``."""
    sca_qwen_torch_dtype: str = "auto"
    """Its precision: ``auto``, ``bfloat16``, ``float16``, ``float32``."""
    sca_qwen_attn_impl: OptionalStr = None
    """Its attention: ``sdpa``, ``eager``, ``flash_attention_2``; unset: the library's choice."""
    sca_qwen_max_new_tokens: int = Field(default=256, ge=1, le=32768)
    """Most text tokens of one answer."""
    sca_qwen_system_prompt: OptionalStr = None
    """Instructions that stand before every conversation."""
    sca_keys: OptionalSecret = None
    """Keys that open the server (``Authorization: Bearer``), comma between them; unset: everybody who reaches it may talk."""
    sca_origins: OptionalStr = None
    """Pages (``https://a.example``, comma between them) that may connect beside the server's own; ``*``: all."""
    sca_sessions_per_key: int = Field(default=0, ge=0)
    """Conversations at a time for one key (without keys: one address); 0: as many as there are."""
    sca_session_seconds: float = Field(default=3600.0, gt=0)
    """A conversation ends after this long."""
    sca_idle_seconds: float = Field(default=30.0, gt=0)
    """A conversation in which neither side said anything for this long ends."""
    sca_handshake_seconds: float = Field(default=5.0, gt=0)
    """A client must have sent its whole request head by then."""
    sca_frame_bytes: int = Field(default=2**18, ge=1024, le=2**24)
    """Largest message that a client may send, in bytes; one second of base64 float32 at 48 kHz."""
    sca_messages_per_second: float = Field(default=500.0, gt=0)
    """Messages a second that are taken from one client in the long run; one that sends more has to wait."""
    sca_bytes_per_second: float = Field(default=2.0**20, ge=1024)
    """The same for bytes."""
    sca_send_seconds: float = Field(default=5.0, gt=0)
    """A client that takes in nothing for this long is cut off."""
    sca_upload_bytes: int = Field(default=32 * 2**20, ge=1024)
    """Largest WAV file of ``/infer_wav``."""
    sca_upload_seconds: float = Field(default=60.0, gt=0)
    """Longest sound of ``/infer_wav``, and the time that its upload may take."""
    sca_drain_seconds: float = Field(default=25.0, ge=0)
    """After SIGTERM conversations may go on for this long; no new one begins."""
    sca_sessions_dir: OptionalStr = None
    """Folder in which conversations with a name are kept; unset: none is kept."""

    @property
    def weights(self) -> Path | None:
        """The weights file, or None for the one that comes with the project."""
        return Path(self.sca_weights) if self.sca_weights else None

    @property
    def engine(self) -> str:
        """What runs the speech-to-speech model."""
        return self.sca_engine

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, one by one."""
        return _split(self.sca_keys.get_secret_value() if self.sca_keys else None)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins, one by one, as browsers write them."""
        return tuple(one.rstrip("/").lower() for one in _split(self.sca_origins))

    @field_validator("sca_keys")
    @classmethod
    def _fit_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        # A browser's WebSocket has no other place for a key than the name of a subprotocol, which is a token.
        for key in _split(value.get_secret_value() if value else None):
            if not re.fullmatch(r"[A-Za-z0-9._~-]{8,200}", key):
                raise ValueError("a key has 8 to 200 letters, digits, '.', '_', '~' and '-'")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """As everywhere, and the file named by SCA_CONFIG after ``.env``."""
        first, environment, dotenv, *rest = super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )
        return (first, environment, dotenv, _File(settings_cls), *rest)


class _File(PydanticBaseSettingsSource):
    """The values in the file that a flag or a variable names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Nothing: the file is read as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """By field name; ConfigError for a file that is not there or not TOML, and for keys that there are not."""
        path = self.current_state.get(_CONFIG)
        return _read(Path(path)) if path else {}


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(part for part in (one.strip() for one in (text or "").split(",")) if part)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"SCA_CONFIG: cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"SCA_CONFIG: {path} is not TOML: {error}") from error
    names = _names()
    found: dict[str, Any] = {}
    unknown: list[str] = []
    for section, values in content.items():
        for key, value in values.items() if isinstance(values, dict) else [("", values)]:
            name = names.get((section, key))
            if name is None:
                unknown.append(f"{section}.{key}".rstrip("."))
            elif value != "":
                found[name] = ",".join(map(str, value)) if isinstance(value, list) else value
    if unknown:
        raise ConfigError(f"SCA_CONFIG: {path} names {', '.join(unknown)}, which is no setting{_meant(unknown[0])}")
    return found


def _meant(unknown: str) -> str:
    near = get_close_matches(unknown, [f"{section}.{key}" for section, key in _names()], 1)
    return f": is it {near[0]}?" if near else "; duplexforge settings lists them"


def _names() -> dict[tuple[str, str], str]:
    """Fields by section and key: ``sca_frame_hz`` is ``[audio] frame_hz``, ``sca_qwen_model_id`` is ``[qwen] model_id``."""
    return {_place(name): name for name in ServeSettings.model_fields if name != _CONFIG}


def _place(name: str) -> tuple[str, str]:
    key = name.removeprefix("sca_")
    if name in _SPELLED:
        return _SPELLED[name]
    if key in _AUDIO:
        return "audio", key
    return ("qwen", key.removeprefix("qwen_")) if key.startswith("qwen_") else ("server", key)
