"""A merged model is the adapter on top of its model, in the model's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duplexforge.errors import InputError, UsageError
from tests.duplex.thinker import tiny_thinker

pytestmark = pytest.mark.heavy


def make_adapter(model: Path, folder: Path, *, seed: int = 1, rows: bool = True) -> Path:
    """An adapter for ``model`` that changes a lot."""
    import torch

    from duplexforge.framing import DuplexFormat
    from duplexforge.models.qwen import opening
    from duplexforge.training import lora_model
    from duplexforge.training.lora_tables import Shape

    thinker = opening.load_thinker(model, precision="fp32")
    shape = Shape(rank=4, alpha=6, silence_rows=rows)
    fmt = DuplexFormat(silence_token_id=7)
    peft = lora_model.adapted(thinker, shape, fmt, base=str(model), revision=None)
    torch.manual_seed(seed)
    for parameter in thinker.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.3)
    lora_model.export(peft, fmt, folder)
    return folder / "adapter"


def answers(thinker: Any) -> Any:
    """Logits of the thinker for some tokens, the silence token among them."""
    import torch

    from duplexforge.models.qwen.forward import positions

    ids = torch.tensor([[5, 7, 9, 7, 100, 200, 7, 3]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        return thinker(input_ids=ids, attention_mask=mask, position_ids=positions(mask)).logits


@pytest.mark.parametrize("whole", [False, True])
def test_merged_is_the_adapter_on_top(tmp_path: Path, whole: bool) -> None:
    import torch
    from safetensors.torch import load_file

    from duplexforge.models.qwen import opening
    from duplexforge.training.lora_merge import MERGED, merge

    model = tiny_thinker(tmp_path / "model", whole=whole)
    adapter = make_adapter(model, tmp_path)
    told = merge(adapter, tmp_path / "out" / "merged")
    out = Path(told.out)
    plain = answers(opening.load_thinker(model, precision="fp32"))
    above = answers(opening.load_adapter(opening.load_thinker(model, precision="fp32"), adapter))
    merged = answers(opening.load_thinker(out, precision="fp32"))
    torch.testing.assert_close(merged, above, rtol=0, atol=1e-4)
    assert float((merged - plain).abs().max()) > 0.1
    before, after = load_file(model / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == told.changed == 2 * 4 + 2
    assert not [name for name in changed if "audio_tower" in name or "visual" in name]
    assert (out / "config.json").read_bytes() == (model / "config.json").read_bytes()
    assert (out / "tokenizer.json").is_file()
    assert json.loads((out / "format.json").read_text())["silence_token_id"] == 7
    assert json.loads((out / MERGED).read_text())["adapter"] == "adapter"


def test_models_of_several_files(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from duplexforge.models.qwen import opening
    from duplexforge.training.lora_merge import merge

    model = tiny_thinker(tmp_path / "model")
    adapter = make_adapter(model, tmp_path, rows=False)
    many = tmp_path / "many"
    opening.load_thinker(model, precision="bf16").save_pretrained(many, max_shard_size="60KB")
    assert len(list(many.glob("*.safetensors"))) > 2
    told = merge(adapter, tmp_path / "merged", str(many))
    assert told.files == len(list(many.glob("*.safetensors"))) == len(list((tmp_path / "merged").glob("*.safetensors")))
    before, after = (
        {k: v for one in sorted(at.glob("*.safetensors")) for k, v in load_file(one).items()}
        for at in (many, tmp_path / "merged")
    )
    name, parts = "model.layers.1.self_attn.o_proj", load_file(adapter / "adapter_model.safetensors")
    down, up = (
        parts[f"base_model.model.{name.replace('model.', 'model.language_model.')}.lora_{one}.weight"] for one in "AB"
    )
    # In the model's own precision, rounded once.
    wanted = (before[f"{name}.weight"].float() + 6 / 4 * up @ down).to(torch.bfloat16)
    assert torch.equal(after[f"{name}.weight"], wanted)
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    kept = {path.name for path in many.glob("*.safetensors") if same(path, tmp_path / "merged" / path.name)}
    # What the adapter does not touch is copied, not written anew.
    assert kept
    (many / "model-00001-of-00002.safetensors").unlink(missing_ok=True)
    next(many.glob("*.safetensors")).unlink()
    with pytest.raises(InputError, match="lacks model-"):
        merge(adapter, tmp_path / "again", str(many))


def same(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes."""
    return one.read_bytes() == other.read_bytes()


def test_what_does_not_go_together_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    from duplexforge.training.lora_merge import merge

    model = tiny_thinker(tmp_path / "model")
    adapter = make_adapter(model, tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        merge(adapter, tmp_path / "there")
    with pytest.raises(InputError, match="is no adapter"):
        merge(tmp_path, tmp_path / "out")
    wide = tiny_thinker(tmp_path / "wide", hidden_size=48)
    with pytest.raises(InputError, match=r"does not fit lm_head\.weight"):
        merge(adapter, tmp_path / "out", str(wide))
    short = tiny_thinker(tmp_path / "short", num_hidden_layers=1)
    with pytest.raises(InputError, match="of another model"):
        merge(adapter, tmp_path / "out", str(short))
    told = json.loads((adapter / "adapter_config.json").read_text())
    for change, words in (({"use_dora": True}, "use_dora"), ({"peft_type": "IA3"}, "kind IA3")):
        (adapter / "adapter_config.json").write_text(json.dumps(told | change))
        with pytest.raises(InputError, match=words):
            merge(adapter, tmp_path / "out")
    (adapter / "adapter_config.json").write_text(json.dumps(told))
    (adapter / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        merge(adapter, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "model", "short", "there", "wide"]
