"""Settings: precedence, both spellings, every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import AliasChoices

from duplexforge import config
from duplexforge.config import GROUPS, DownloadSettings, QueueSettings, StoreSettings, UploadSettings
from duplexforge.errors import ConfigError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine, no ``.env`` of the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(config.CONFIG_FILE, raising=False)
    for group in {group for groups in GROUPS.values() for group in groups}:
        for name, field in group.model_fields.items():
            for variable in config.variables(name, field.validation_alias):
                monkeypatch.delenv(variable, raising=False)


def test_defaults() -> None:
    settings = config.load("run")
    assert settings[StoreSettings].url == "file://./data"
    assert settings[QueueSettings].attempt_limit == 3
    assert settings[DownloadSettings].allow_file_urls is False


def test_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def limit(**flags: int) -> int:
        return config.load("download", _defaults={"attempt_limit": 5}, **flags)[QueueSettings].attempt_limit

    assert limit() == 5
    (tmp_path / "some.toml").write_text("attempt_limit = 6\n")
    monkeypatch.setenv(config.CONFIG_FILE, str(tmp_path / "some.toml"))
    assert limit() == 6
    (tmp_path / ".env").write_text("ATTEMPT_LIMIT=7\n")
    assert limit() == 7
    monkeypatch.setenv("ATTEMPT_LIMIT", "8")
    assert limit() == 8
    assert limit(attempt_limit=9) == 9


ALIASES = [
    (group, name, variable)
    for group in (StoreSettings, DownloadSettings)
    for name, field in group.model_fields.items()
    if isinstance(field.validation_alias, AliasChoices)
    for variable in config.variables(name, field.validation_alias)
]


@pytest.mark.parametrize(("group", "name", "variable"), ALIASES)
def test_every_spelling_works(
    monkeypatch: pytest.MonkeyPatch, group: type[config.Group], name: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "77")
    value = getattr(config.load("download")[group], name)
    assert (value.get_secret_value() if hasattr(value, "get_secret_value") else value) in ("77", 77)


def test_the_documented_spellings_are_there() -> None:
    assert {variable for _, _, variable in ALIASES} >= {
        "R2_BUCKET", "S3_BUCKET_NAME", "R2_ENDPOINT_URL", "R2_ENDPOINT", "AWS_ENDPOINT_URL",
        "R2_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY",
    }  # fmt: skip


@pytest.mark.parametrize("variable", ["R2_BUCKET", "STORE_URL", "R2_ENDPOINT_URL", "ATTEMPT_LIMIT", "RAW_AUDIO_PREFIX"])
def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    plain = config.load("download")
    monkeypatch.setenv(variable, "")
    settings = config.load("download")
    assert settings[StoreSettings] == plain[StoreSettings]
    assert settings[QueueSettings] == plain[QueueSettings]


def test_an_empty_first_spelling_gives_way_to_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2_BUCKET", "")
    monkeypatch.setenv("S3_BUCKET_NAME", "b")
    assert config.load("download")[StoreSettings].url == "s3://b"


def test_all_problems_in_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATTEMPT_LIMIT", "none")
    monkeypatch.setenv("LEASE_SECONDS", "0")
    monkeypatch.setenv("DOWNLOAD_MAX_BYTES", "-1")
    monkeypatch.setenv("RAW_AUDIO_PREFIX", "../up")
    monkeypatch.setenv(config.CONFIG_FILE, str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigError) as wrong:
        config.load("download")
    for name in ("ATTEMPT_LIMIT", "LEASE_SECONDS", "DOWNLOAD_MAX_BYTES", "RAW_AUDIO_PREFIX", config.CONFIG_FILE):
        assert name in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_toml_file_that_does_not_parse_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("= broken")
    monkeypatch.setenv(config.CONFIG_FILE, str(tmp_path / "bad.toml"))
    with pytest.raises(ConfigError, match=config.CONFIG_FILE):
        config.load("download")


@pytest.mark.parametrize(("given_prefix", "kept"), [("raw", "raw/"), ("/a/b/", "a/b/")])
def test_prefixes_end_with_a_slash(given_prefix: str, kept: str) -> None:
    assert config.load("download", raw_audio_prefix=given_prefix)[StoreSettings].raw_audio_prefix == kept


@pytest.mark.parametrize("prefix", ["..", "a//b", "a/./b", "/"])
def test_prefixes_that_leave_the_store_are_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="RAW_AUDIO_PREFIX"):
        config.load("download", raw_audio_prefix=prefix)


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("HF_TOKEN", "canary-token")
    settings = config.load("upload")
    assert "canary" not in repr(settings.groups())
    assert settings[UploadSettings].hf_token


@pytest.mark.parametrize("role", GROUPS)
def test_a_child_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    settings = config.load(role, store_url="s3://b", access_key_id="k", secret_access_key="s", attempt_limit=9)
    for name, value in config.environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert config.load(role).groups() == settings.groups()
