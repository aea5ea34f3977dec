"""An Audio Spectrogram Transformer of random weights, in the folder layout of the published one."""

from __future__ import annotations

import json
from pathlib import Path

LABELS = ("Speech", "Laughter", "Giggle", "Applause", "Music", "Vacuum cleaner")
MEAN, DEVIATION = -4.2677393, 4.5689974
LENGTH, BANDS = 128, 32


def write(folder: Path, *, labels: tuple[str, ...] = LABELS, seed: int = 0, length: int = LENGTH) -> Path:
    """Make the folder with config.json, preprocessor_config.json and model.safetensors."""
    import torch
    from transformers import ASTConfig, ASTForAudioClassification

    torch.manual_seed(seed)
    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_length=length,
        num_mel_bins=BANDS,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    # As initialised, every answer would be one half; weights this large let the input decide.
    network = ASTForAudioClassification(config)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.mul_(30.0)
    network.save_pretrained(folder, safe_serialization=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(described(length=length)))
    return folder


def described(**changes: object) -> dict[str, object]:
    """The content of ``preprocessor_config.json`` with some entries changed."""
    return {
        "do_normalize": True,
        "feature_extractor_type": "ASTFeatureExtractor",
        "max_length": LENGTH,
        "mean": MEAN,
        "num_mel_bins": BANDS,
        "sampling_rate": 16000,
        "std": DEVIATION,
        **changes,
    }
