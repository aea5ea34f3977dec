"""Checkpoints: whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from duplexforge.errors import InputError

pytestmark = pytest.mark.heavy


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    from duplexforge.training import checkpoints

    for step in (1, 2, 10, 30):
        checkpoints.save(tmp_path, step, {"step": step}, keep=2)
    assert checkpoints.found(tmp_path) == [10, 30]
    assert {path.name for path in tmp_path.iterdir()} == {"step-000000010.pt", "step-000000030.pt"}


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from duplexforge.training import checkpoints

    checkpoints.save(tmp_path, 1, {"step": 1}, keep=1)

    def full(_: object, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        checkpoints.save(tmp_path, 2, {"step": 2}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.pt"]


def test_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    from duplexforge.training import checkpoints

    checkpoints.save(tmp_path, 1, {"step": 1}, keep=3)
    path = checkpoints.save(tmp_path, 2, {"step": 2}, keep=3)
    path.write_bytes(path.read_bytes()[:-40])
    (tmp_path / "step-000000003.99.part").write_bytes(b"x")
    found = checkpoints.newest(tmp_path, "cpu")
    assert found
    assert found[1] == {"step": 1}
    with pytest.raises(InputError, match="is no whole checkpoint"):
        checkpoints.load(path, "cpu")
    assert checkpoints.newest(tmp_path / "none", "cpu") is None


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    import torch

    from duplexforge.training import checkpoints

    path = checkpoints.save(tmp_path, 1, {"weights": torch.full((5000,), 3.0)}, keep=1)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 16
    path.write_bytes(body)
    with pytest.raises(InputError, match="is no whole checkpoint"):
        checkpoints.load(path, "cpu")


def test_nothing_in_a_checkpoint_runs(tmp_path: Path) -> None:
    import torch

    from duplexforge.training import checkpoints

    torch.save({"path": Path("x")}, checkpoints.path_of(tmp_path, 1))
    with pytest.raises(InputError, match="is no whole checkpoint"):
        checkpoints.load(checkpoints.path_of(tmp_path, 1), "cpu")


def test_digests_tell_states_apart() -> None:
    import torch

    from duplexforge.training.checkpoints import digest

    state = {"a": torch.arange(4.0), "b": {"c": 1}}
    assert digest(state) == digest({"b": {"c": 1}, "a": torch.arange(4.0)})
    assert digest(state) != digest({"a": torch.arange(4.0) + 1e-6, "b": {"c": 1}})
