"""Sessions: where they run, what is said when they cannot, and the two ways to run them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from Emilia.config import load_config
from Emilia.errors import ModelMissing
from Emilia.models.onnx import Network, _providers, arena_limit
from Emilia.options import OnnxOptions
from tests.unit.emilia import tiny_mdx

FREE = OnnxOptions(memory_gb=0.0, memory_share=0.0)


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    weights = np.full((1, 1, 1, 1), 2.0, np.float32)
    return tiny_mdx.scaled(tmp_path / "double.onnx", weights, dim_f=3, dim_t=5)


def asked(seed: int = 0, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 4, 3, 5)).astype(np.float32)


def test_the_network_is_described_and_run(doubling: Path) -> None:
    network = Network(doubling, "cpu", FREE)
    assert network.shape == (None, 4, 3, 5)
    assert not network.half
    assert not network.cuda
    for batch in (1, 3):
        assert np.array_equal(network.run(asked(batch=batch)), 2 * asked(batch=batch))


def test_one_thread_and_a_named_provider(doubling: Path) -> None:
    session = Network(doubling, "cpu", FREE)._session
    assert session.get_providers() == ["CPUExecutionProvider"]
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level) == (1, 1, 3)


@pytest.mark.heavy
@pytest.mark.parametrize("half", [False, True])
def test_tensors_are_bound_where_they_lie(tmp_path: Path, half: bool) -> None:
    import torch

    network = Network(tiny_mdx.identity(tmp_path / "a.onnx", dim_f=3, dim_t=5, half=half), "cpu", FREE)
    assert network.half is half
    tensor = torch.from_numpy(asked()).to(torch.float16 if half else torch.float32)
    answer = network.run_tensor(tensor)
    assert answer.dtype == tensor.dtype
    assert answer.data_ptr() != tensor.data_ptr()
    assert torch.equal(answer, tensor)


def test_a_missing_and_a_damaged_file_have_a_cure(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"cache_models.py.*absent\.onnx"):
        Network(tmp_path / "absent.onnx", "cpu", FREE)
    (tmp_path / "damaged.onnx").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(ModelMissing, match=r"damaged\.onnx is damaged"):
        Network(tmp_path / "damaged.onnx", "cpu", FREE)


def test_a_cpu_build_asked_for_a_gpu_says_so(doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelMissing, match="CPU build: pip uninstall onnxruntime") as caught:
        Network(doubling, "cuda:1", FREE)
    assert "double.onnx" in caught.value.model


def test_a_session_that_fell_back_to_the_cpu_is_refused(doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with onnxruntime-gpu where a CUDA library is missing: the session opens, without CUDA."""
    opened = onnxruntime.InferenceSession

    def fallen_back(path: str, options: object, providers: list[object]) -> object:
        assert [p[0] if isinstance(p, tuple) else p for p in providers] == [
            "CUDAExecutionProvider",
            "CPUExecutionProvider",
        ]
        return opened(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", fallen_back)
    with pytest.raises(ModelMissing, match=r"cannot use CUDA: .*libonnxruntime_providers_cuda\.so"):
        Network(doubling, "cuda", FREE)


def test_the_card_and_the_limit_are_named() -> None:
    (name, settings), second = _providers(True, 1, OnnxOptions(memory_gb=2.0, memory_share=0.0))
    assert (name, second) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert settings["device_id"] == 1
    assert settings["gpu_mem_limit"] == 2 * 2**30
    assert "gpu_mem_limit" not in _providers(True, 0, FREE)[0][1]


@given(st.floats(0.1, 100), st.floats(0.01, 1.0), st.integers(2**30, 2**37))
def test_the_smaller_limit_counts(gigabytes: float, share: float, card: int) -> None:
    own, part = round(gigabytes * 2**30), round(share * card)
    assert arena_limit(OnnxOptions(gigabytes, share), card) == min(own, part)
    assert arena_limit(OnnxOptions(gigabytes, 0.0), card) == own
    assert arena_limit(OnnxOptions(0.0, share), card) == part
    assert arena_limit(OnnxOptions(gigabytes, share), 0) == own
    assert arena_limit(FREE, card) == 0


def test_no_preset_limits_the_arena_by_itself() -> None:
    for preset in ("lite", "emilia"):
        assert load_config(None, preset=preset).onnx == FREE
