"""torch's data sets: every item once, whatever the workers and ranks, and on from where a run stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplexforge.errors import ConfigError
from duplexforge.loading.dataset import DuplexDataset, easy_load
from tests.duplex.folder import MadeFolder, write_folder
from tests.unit.loading.conftest import Bucket

pytestmark = pytest.mark.heavy

AUDIO = 151675


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DuplexDataset:
    # 12 windows, which neither 5 ranks nor batches of 5 divide.
    data = easy_load(write_folder(tmp_path_factory.mktemp("torch") / "set", sides=5, chunks=6).folder)
    assert len(data) == 12
    return data


def _stream(data: DuplexDataset, **changes: Any) -> Any:
    from duplexforge.loading.torch_dataset import TorchStream

    return TorchStream(data, **changes)


def _loader(stream: Any, *, batch: int, workers: int, **more: Any) -> Any:
    from torch.utils.data import DataLoader

    more |= {"multiprocessing_context": "fork"} if workers else {}
    return DataLoader(stream, batch_size=batch, num_workers=workers, collate_fn=_names, **more)


def _names(items: Sequence[Any]) -> list[tuple[str, int]]:
    return [(item["session_id"], item["seq_id"]) for item in items]


def _all(data: DuplexDataset) -> list[tuple[str, int]]:
    return sorted(_names(data[:]))


def test_items_in_tensors(data: DuplexDataset) -> None:
    import torch

    from duplexforge.loading.torch_dataset import TorchDataset

    items = TorchDataset(data)
    assert len(items) == len(data)
    for item, plain in zip(items, data, strict=True):
        for name in ("input_sequence", "input_audios", "target_audios"):
            assert torch.is_tensor(item[name])
            np.testing.assert_array_equal(item[name].numpy(), plain[name])  # type: ignore[literal-required]
        assert (item["speaker_embedding"] is None) == (plain["speaker_embedding"] is None)
        assert item["session_id"] == plain["session_id"]


def test_batches_in_tensors(data: DuplexDataset) -> None:
    import torch
    from torch.utils.data import DataLoader

    from duplexforge.loading.collator import Collator
    from duplexforge.loading.torch_dataset import TorchCollator, TorchDataset

    collate = TorchCollator(data.format, audio_token_id=AUDIO, silence_weight=0.5)
    (batch, *_) = DataLoader(TorchDataset(data), batch_size=5, collate_fn=collate)
    plain = Collator(data.format, audio_token_id=AUDIO, silence_weight=0.5)(data[:5])
    assert batch.keys() == plain.keys()
    for name, one in plain.items():
        if isinstance(one, np.ndarray):
            assert batch[name].dtype == torch.from_numpy(one).dtype
            np.testing.assert_array_equal(batch[name].numpy(), one)
        else:
            assert batch[name] == one


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_the_same_with_any_number_of_workers(data: DuplexDataset, workers: int) -> None:
    alone = list(_loader(_stream(data, seed=3, batch=5), batch=5, workers=0))
    found = list(_loader(_stream(data, seed=3, batch=5), batch=5, workers=workers))
    assert found == alone
    assert [len(batch) for batch in found] == [5, 5, 2]
    assert sorted(name for batch in found for name in batch) == _all(data)


def test_map_style_with_workers_gives_each_item_once(data: DuplexDataset) -> None:
    from duplexforge.loading.torch_dataset import TorchDataset

    found = [name for batch in _loader(TorchDataset(data), batch=5, workers=2) for name in batch]
    assert found == _names(data[:])


def test_workers_that_start_afresh(data: DuplexDataset) -> None:
    # Spawned workers get a pickled copy, and open their files themselves.
    from torch.utils.data import DataLoader

    loader = DataLoader(
        _stream(data, seed=3, batch=5), batch_size=5, num_workers=1, collate_fn=_names, multiprocessing_context="spawn"
    )
    assert [name for batch in loader for name in batch] == _names(list(_stream(data, seed=3)))


@pytest.mark.parametrize("world", [1, 2, 5])
def test_ranks_share_an_epoch(data: DuplexDataset, world: int) -> None:
    shares = [_names(_stream(data, seed=1, rank=rank, world=world)) for rank in range(world)]
    assert sorted(name for share in shares for name in share) == _all(data)
    assert [len(share) for share in shares] == [len(_stream(data, rank=rank, world=world)) for rank in range(world)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_even_ranks_leave_a_few_out_and_others_in_the_next_epoch(data: DuplexDataset) -> None:
    missing = []
    for epoch in range(6):
        found = []
        for rank in range(5):
            stream = _stream(data, rank=rank, world=5, even=True)
            stream.set_epoch(epoch)
            share = _names(stream)
            assert len(share) == len(stream) == 2
            found += share
        assert len(set(found)) == 10
        missing.append(frozenset(_all(data)) - set(found))
    assert len(set(missing)) > 1


def test_order_is_seed_and_epoch(data: DuplexDataset) -> None:
    def order(epoch: int, **changes: Any) -> list[tuple[str, int]]:
        stream = _stream(data, **changes)
        stream.set_epoch(epoch)
        return _names(stream)

    assert order(0) == order(0)
    assert len({tuple(order(epoch, seed=seed)) for epoch in range(3) for seed in range(3)}) == 9
    assert order(4, shuffle=False) == _names(data[:])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 3, 6])
def test_going_on_where_a_run_stopped(data: DuplexDataset, workers: int, stop: int) -> None:
    whole = list(_loader(_stream(data, seed=8, batch=2), batch=2, workers=0))
    first = _stream(data, seed=8, batch=2)
    taken = [batch for batch, _ in zip(_loader(first, batch=2, workers=workers), range(stop), strict=False)]
    state = first.state_dict(sum(map(len, taken)))
    second = _stream(data, seed=8, batch=2)
    second.load_state_dict(state)
    rest = list(_loader(second, batch=2, workers=workers))
    assert taken + rest == whole
    assert len(second) == 12 - 2 * stop
    # And once more from there, which adds up.
    if stop == 1:
        assert second.state_dict(4)["behind"] == 6


def test_going_on_with_another_number_of_ranks(data: DuplexDataset) -> None:
    ranks = [_stream(data, rank=rank, world=3) for rank in range(3)]
    taken = [name for stream in ranks for name in _names(item for item, _ in zip(stream, range(2), strict=False))]
    (state, *others) = [stream.state_dict(2) for stream in ranks]
    assert others == [state, state]
    rest = []
    for rank in range(2):
        stream = _stream(data, rank=rank, world=2)
        stream.load_state_dict(state)
        rest += _names(stream)
    assert sorted(taken + rest) == _all(data)


def test_persistent_workers_see_the_next_epoch(data: DuplexDataset) -> None:
    stream = _stream(data, seed=2)
    loader = _loader(stream, batch=1, workers=2, persistent_workers=True)
    for epoch in range(3):
        stream.set_epoch(epoch)
        alone = _stream(data, seed=2)
        alone.set_epoch(epoch)
        assert [name for batch in loader for name in batch] == _names(alone)


def test_a_kept_place_of_another_run_is_refused(data: DuplexDataset, tmp_path: Path) -> None:
    state = _stream(data, seed=1).state_dict(3)
    with pytest.raises(ConfigError, match="belongs to another run: seed differ"):
        _stream(data, seed=2).load_state_dict(state)
    other = easy_load(write_folder(tmp_path / "set", sides=5, chunks=6, seed=8).folder)
    with pytest.raises(ConfigError, match="data differ"):
        _stream(other, seed=1).load_state_dict(state)
    # The same bytes at another place are the same data.
    copy = easy_load(write_folder(tmp_path / "copy", sides=5, chunks=6).folder)
    _stream(copy, seed=1).load_state_dict(state)


def test_numbers_that_make_no_sense(data: DuplexDataset) -> None:
    with pytest.raises(ConfigError, match="rank 2 is not one of 2 ranks"):
        _stream(data, rank=2, world=2)
    with pytest.raises(ConfigError, match="at least one item"):
        _stream(data, batch=0)
    with pytest.raises(ConfigError, match="13 items cannot have been taken of 12"):
        _stream(data).state_dict(13)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_on_a_store(bucket: Bucket, small: MadeFolder, tmp_path: Path, start: str) -> None:
    """The store's client does not live through a fork; workers fetch what they need all the same."""
    from torch.utils.data import DataLoader

    stream = _stream(easy_load(bucket.url, cache=tmp_path), shuffle=False)
    loader = DataLoader(stream, num_workers=2, collate_fn=_names, multiprocessing_context=start, timeout=120)
    assert [name for batch in loader for name in batch] == _names(easy_load(small.folder)[:])
