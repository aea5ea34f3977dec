"""Books and their hygiene, and the network round them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.made import voice

pytestmark = pytest.mark.heavy


def test_nearest_is_the_nearest() -> None:
    import torch

    from duplexforge.models.quantizers import nearest

    random = torch.Generator().manual_seed(0)
    values, book = torch.randn(200, 6, generator=random), torch.randn(32, 6, generator=random)
    weights = torch.rand(200, 6, generator=random)
    slow = ((values[:, None] - book[None]).square() * weights[:, None]).sum(-1).argmin(1)
    assert torch.equal(nearest(values, weights, book), slow)


def test_kmeans_finds_what_is_there() -> None:
    import torch

    from duplexforge.models.quantizers import kmeans, nearest

    random = torch.Generator().manual_seed(0)
    middles = torch.randn(8, 4, generator=random) * 3
    values = middles.repeat(50, 1) + 0.01 * torch.randn(400, 4, generator=random)
    book = kmeans(values, torch.ones_like(values), 16, 8, random)
    error = (values - book[nearest(values, torch.ones_like(values), book)]).square().mean()
    assert error < 0.01
    assert torch.isfinite(book).all()


def test_each_book_leaves_less() -> None:
    import torch

    from duplexforge.models.quantizers import Books

    random = torch.Generator().manual_seed(0)
    values = torch.randn(600, 5, generator=random)
    books = Books(4, 32, 5)
    books.start(values, torch.ones_like(values), 4, random)
    errors = [
        float((values - books.search(values, torch.ones_like(values), depth)[1]).square().mean().detach())
        for depth in (1, 2, 3, 4)
    ]
    assert all(later < earlier for earlier, later in pairwise(errors))


def test_entries_nobody_takes_start_anew_and_are_taken_then() -> None:
    import torch

    from duplexforge.models.quantizers import Books

    random = torch.Generator().manual_seed(0)
    values = torch.randn(500, 4, generator=random)
    weights = torch.ones_like(values)
    books = Books(1, 64, 4, fade=0.5)
    with torch.no_grad():
        books.vectors[0, 16:] = 1e3
    for _ in range(20):
        books.count(books.search(values, weights)[0])
    before = books.bits()[0]
    moved = books.restart(values, weights, 0.05, random)
    assert moved >= 48
    for _ in range(20):
        books.count(books.search(values, weights)[0])
    assert books.bits()[0] > before + 1
    assert books.restart(values, weights, 0.0, random) == 0


def model(hop: int = 80):  # type: ignore[no-untyped-def]
    import torch

    from duplexforge.models.token_model import TokenModel, TokenShape

    torch.manual_seed(0)
    made = TokenModel(TokenShape(hop=hop, entries=64, groups=(1, 2, 1), hidden=8, tilt=0.2))
    waves = torch.from_numpy(np.stack([voice(1.0, pitch, seed=pitch) for pitch in (100, 160, 220)]))
    made.start(made.frames(waves), torch.Generator().manual_seed(1), rounds=3, steps=20)
    return made, waves


def test_the_transform_is_whole_and_books_help_one_by_one() -> None:
    import torch

    made, waves = model()
    assert torch.allclose(made.waves(made.frames(waves)), waves, atol=1e-5)
    frames = made.frames(waves)
    with torch.no_grad():
        errors = [float((made(frames, depth).plain - frames).square().mean()) for depth in (1, 2, 3, 4)]
    assert all(later < earlier for earlier, later in pairwise(errors))


def test_whole_stretches_are_causal() -> None:
    import torch

    made, waves = model()
    frames = made.frames(waves)
    # The first frame of a packet: the gains of a packet know all of it.
    other = frames.clone()
    other[:, 32:] = torch.randn(other[:, 32:].shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        first, second = made(frames), made(other)
    assert torch.equal(first.indices[:, :32], second.indices[:, :32])
    assert torch.allclose(first.filtered[:, :32], second.filtered[:, :32], atol=1e-6)
    assert not torch.equal(first.indices[:, 32:], second.indices[:, 32:])


def test_every_part_learns() -> None:
    made, waves = model()
    frames = made.frames(waves)
    coded = made(frames)
    ((coded.filtered - frames).square().mean() + coded.scale_loss).backward()
    silent = [name for name, one in made.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    # A filter that starts from nothing passes nothing back to its inner layers until its last one has moved; the books of
    # loudness are k-means' alone.
    assert all(name.startswith(("filter.inner", "gains.")) for name in silent)


def test_without_torch_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arithmetic of token_weights mirrors the network's, sizes, filter and all."""
    import torch

    from duplexforge.models import token_search
    from duplexforge.models.codec import decode, encode
    from duplexforge.models.rvq import TokenCodec
    from duplexforge.models.token_model import seen, windows
    from duplexforge.models.token_weights import read
    from duplexforge.training.codec import write_weights

    made, waves = model()
    with torch.no_grad():
        for parameter in made.filter.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    write_weights(made, tmp_path / "w.safetensors", {})
    codec = TokenCodec(read(tmp_path / "w.safetensors"))
    # The network searches book by book; so must the stream, for once.
    monkeypatch.setattr(token_search, "BREADTH", 1)
    # What is stored is rounded to 8 bits, so the network is compared after the same rounding.
    with torch.no_grad():
        for books, group in zip(made.books, codec.model.groups, strict=True):
            books.vectors.copy_(torch.from_numpy(np.stack([book.vectors for book in group])))
        made.gains.vectors.copy_(torch.from_numpy(np.stack([book.vectors for book in codec.model.gains])))
    wave = waves[1].numpy()
    heard = decode(codec, encode(codec, wave))
    with torch.no_grad():
        # To the end of the last packet, of which its gains know all.
        frames = made.frames(torch.from_numpy(np.pad(wave, (0, 240)))[None])
        assert frames.shape[1] % 4 == 0
        plain = torch.zeros(1, 8, 80)
        for at in range(frames.shape[1]):
            whole = torch.cat([plain[:, -8:], frames[:, at : at + 1]], dim=1)
            plain = torch.cat([plain, made._pass(whole, whole, None).plain[:, -1:]], dim=1)
        plain = plain[:, 8:]
        raised = plain * made._raised(frames, plain)
        filtered = raised * torch.exp(torch.tanh(made.filter(seen(windows(plain), raised))))
        target = made.waves(filtered)[0, : len(wave)].numpy()
    assert np.abs(heard - target).max() < 1e-4
