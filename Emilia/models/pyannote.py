"""pyannote.audio's speaker diarization from a local folder, block by block: who speaks when, overlaps included.

Source: pyannote.audio 4 (MIT), its pipelines speaker-diarization-3.1 and -community-1 with their published constants.
Two departures bound the memory of a long episode. Audio is taken in blocks, and each block is diarized alone; the
clustering of a whole file grows with the square of its length (twelve hours would need tens of gigabytes). The speakers
of the blocks are then linked by their embeddings (:mod:`Emilia.models.linking`). Under ``compat`` the whole file is one
block, as published: mind the memory beyond two hours.

The checkpoints are pickles, and loading one runs what is in it: the folder must come from somebody you trust.
"""

from __future__ import annotations

import gc
import warnings
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from Emilia.config import Config
from Emilia.errors import BadConfig, ModelMissing
from Emilia.models import cuda
from Emilia.models.linking import Heard, blocks, joined, link, voice
from Emilia.models.torchaudio_mend import CURE
from Emilia.models.weights import fingerprint, resolve
from Emilia.options import PyannoteOptions
from Emilia.recording import Audio, Recording, Turn, ms
from Emilia.stage import Progress

__all__ = ["PyannoteDiarizer", "locate"]

_FILES = {
    "3.1": ("segmentation/pytorch_model.bin", "embedding/pytorch_model.bin"),
    "community-1": (
        "segmentation/pytorch_model.bin",
        "embedding/pytorch_model.bin",
        "plda/xvec_transform.npz",
        "plda/plda.npz",
    ),
}
_PAGES = {
    "3.1": "pyannote/segmentation-3.0",
    "community-1": "pyannote/speaker-diarization-community-1",
}
# The network's first and last frames lie this far inside the audio: nearer to a border nobody is heard.
_EDGE = 0.1
# Share of the work that is done when the segmentation network is through; the embeddings are the rest.
_SEGMENTED = 0.2
# The networks see ten seconds at once.
_LEAST_BLOCK = 10.0


def locate(options: PyannoteOptions) -> dict[str, Path]:
    """The files of the configured variant by their names in the folder; ``ModelMissing`` names the first that lacks."""
    folder = resolve(options.folder)
    files = {name: folder / name for name in _FILES[options.variant]}
    for name, path in files.items():
        if not path.is_file():
            raise ModelMissing(
                f"{options.folder}/{name}",
                f"accept the conditions on the Hub's pages {_PAGES[options.variant]}, then run `python cache_models.py`; "
                f"it puts the file at {path}.",
            )
    return files


class PyannoteDiarizer:
    """The diarizer ``pyannote``: fills ``recording.voices`` too, the speech-weighted mean of each speaker's embeddings.

    Who spoke too little for an embedding has turns and no voice.
    """

    marks_overlap = True
    adds: tuple[str, ...] = ("turns", "voices")

    def __init__(self, config: Config) -> None:
        self.options = config.pyannote
        if self.options.variant not in _FILES:
            raise BadConfig(f"'pyannote.variant' is {self.options.variant!r}; the choices are {', '.join(_FILES)}.")
        if self.options.block < _LEAST_BLOCK:
            raise BadConfig(f"'pyannote.block' is {self.options.block:g} s; it must be {_LEAST_BLOCK:g} s or more.")
        self._whole = config.pipeline.compat
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:
        """Build the pipeline on ``device``; ``ModelMissing`` for a file or package that is not there."""
        files = locate(self.options)
        self._pipeline = _pipeline(files, self.options, device)
        digests: dict[str, list[str]] = defaultdict(list)
        for name, path in files.items():
            digests[f"pyannote-{Path(name).parent}"].append(fingerprint(path))
        self.models = {name: " ".join(found) for name, found in digests.items()}
        self.models["pyannote"] = f"{self.options.variant} (pyannote.audio {version('pyannote-audio')})"

    def close(self) -> None:
        """Free the networks."""
        del self._pipeline

    def turns(self, recording: Recording, progress: Progress) -> list[Turn]:
        """Turns with overlaps, speakers linked over all blocks; times are whole milliseconds."""
        wave = recording.narrow_rate()
        bounds = blocks(wave.frames, wave.frames if self._whole else round(self.options.block * wave.rate))
        found: list[list[Turn]] = []
        heard: list[Heard] = []
        names: dict[tuple[int, str], int] = {}
        for number, (first, last) in enumerate(bounds):
            ahead = _Ahead(progress, number, len(bounds))
            turns, embeddings = self._block(wave.read(first, last), wave.rate, ahead)
            for label, embedding in embeddings.items():
                names[number, label] = len(heard)
                seconds = sum(turn.end - turn.start for turn in turns if turn.speaker == label)
                heard.append(Heard(number, seconds, embedding))
            found.append(turns)
        people = link(heard, self.options.link)
        starts = [first / wave.rate for first, _ in bounds]
        cast = [
            [Turn(ms(t.start + start), ms(t.end + start), _name(people[names[number, t.speaker]])) for t in turns]
            for number, (start, turns) in enumerate(zip(starts, found, strict=True))
        ]
        recording.voices = _voices(heard, people)
        return joined(cast, starts, _EDGE)

    def _block(self, samples: Audio, rate: int, ahead: _Ahead) -> tuple[list[Turn], dict[str, Any]]:
        """Turns of one block, times from its beginning, and the embedding of each speaker in it."""
        output = self._diarized(samples, rate, ahead)
        length = len(samples) / rate
        turns = []
        for stretch, _, label in output.speaker_diarization.itertracks(yield_label=True):
            # Frames reach a little over the end. Rounded here, the times are the same wherever the block stands.
            start, end = ms(max(0.0, stretch.start)), ms(min(stretch.end, length))
            if end > start:
                turns.append(Turn(start, end, label))
        there = {turn.speaker for turn in turns}
        labels = output.speaker_diarization.labels()
        voices = dict(zip(labels, output.speaker_embeddings, strict=True))
        return turns, {label: embedding for label, embedding in voices.items() if label in there}

    def _diarized(self, samples: Audio, rate: int, ahead: _Ahead) -> Any:
        """pyannote's answer; where the card's memory is short, once more with half the batches from then on."""
        import torch

        # In memory always: a path would be decoded by torchcodec, which wants the system's FFmpeg.
        wave = torch.from_numpy(samples)[None]
        try:
            return self._answer(wave, rate, ahead)
        except (RuntimeError, MemoryError) as error:
            # pyannote turns the segmentation network's shortage into a MemoryError and leaves the other one's alone.
            if not isinstance(error, MemoryError) and not cuda.is_out_of_memory(error):
                raise
        # Outside the handler: until it is left, the traceback holds the tensors that did not fit.
        self._pipeline.segmentation_batch_size = max(1, self._pipeline.segmentation_batch_size // 2)
        self._pipeline.embedding_batch_size = max(1, self._pipeline.embedding_batch_size // 2)
        gc.collect()
        torch.cuda.empty_cache()
        return self._answer(wave, rate, ahead)

    def _answer(self, wave: Any, rate: int, ahead: _Ahead) -> Any:
        with cuda.watched(), warnings.catch_warnings():
            # Where nobody spoke enough for an embedding, pyannote takes the mean of none: a NaN, which is looked for.
            # And it tries how short a clip the embedding network takes, which must not end in an error instead.
            for expected in (
                "Mean of empty slice",
                "invalid value encountered in divide",
                r"std\(\): degrees of freedom",
            ):
                warnings.filterwarnings("ignore", expected)
            return self._pipeline({"waveform": wave, "sample_rate": rate}, hook=ahead)


class _Ahead:
    """Progress of one block as a share of all; a block that is begun again does not take anything back."""

    def __init__(self, progress: Progress, number: int, count: int) -> None:
        self._progress, self._number, self._count = progress, number, count
        self._done = 0.0

    def __call__(self, step: str, *_artefact: object, total: int = 0, completed: int = 0, **_file: object) -> None:
        """The signature of pyannote's hooks."""
        if total and step in ("segmentation", "embeddings"):
            share = min(1.0, float(completed) / total)
            share = share * _SEGMENTED if step == "segmentation" else _SEGMENTED + share * (1 - _SEGMENTED)
            self._done = max(self._done, share)
            self._progress((self._number + self._done) / self._count)


def _name(person: int) -> str:
    return f"{person:06d}"


def _voices(heard: list[Heard], people: list[int]) -> dict[str, list[float]]:
    shares: dict[int, list[Heard]] = defaultdict(list)
    for one, person in zip(heard, people, strict=True):
        shares[person].append(one)
    means = {person: voice(own) for person, own in shares.items()}
    return {_name(n): [round(float(x), 6) for x in mean] for n, mean in means.items() if mean is not None}


def _pipeline(files: dict[str, Path], options: PyannoteOptions, device: str) -> Any:
    torch, audio = _imported()
    if device.startswith("cuda"):
        # pyannote would switch TensorFloat-32 off itself, with a warning; a result must not depend on who came first.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    else:
        # One thread, like every other network on a CPU: sums in another order would change the last bits.
        torch.set_num_threads(1)
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.pipelines import SpeakerDiarization
    from pyannote.audio.utils import vbx

    # VBx prints remarks on its convergence to standard output, where a caller's JSON may be going.
    vbx.print = lambda *_words: None
    segmentation, embedding, *plda = files.values()
    agglomerative = options.variant == "3.1"
    pipeline = SpeakerDiarization(
        segmentation=audio.Model.from_pretrained(segmentation),
        embedding=audio.Model.from_pretrained(embedding),
        embedding_exclude_overlap=True,
        # Without a PLDA pyannote would fetch one, though this clustering never looks at it: an empty one is none.
        plda=PLDA.__new__(PLDA) if agglomerative else PLDA(*plda),
        clustering="AgglomerativeClustering" if agglomerative else "VBxClustering",
        segmentation_batch_size=options.segmentation_batch,
        embedding_batch_size=options.embedding_batch,
    )
    pipeline.instantiate(
        {
            "segmentation": {"min_duration_off": options.min_duration_off},
            "clustering": {
                "method": "centroid",
                "min_cluster_size": options.min_cluster_size,
                "threshold": options.threshold,
            }
            if agglomerative
            else {"threshold": options.threshold, "Fa": options.fa, "Fb": options.fb},
        }
    )
    return pipeline.to(torch.device(device))


def _imported() -> tuple[Any, Any]:
    """torch and pyannote.audio, telemetry off; ``ModelMissing`` when they are not installed or cannot be loaded."""
    try:
        import torch
        from pyannote import audio
        from pyannote.audio.telemetry import set_telemetry_metrics
    except ImportError as error:
        cure = "pip install -c requirements.txt torch, then '.[emilia,cpu]' (or '.[emilia,gpu]')."
        raise ModelMissing("pyannote.audio", f"{cure} ({error})") from error
    except OSError as error:
        raise ModelMissing("pyannote.audio", f"its torchaudio needs CUDA: run `{CURE}`. ({error})") from error
    # Without this every run would be reported to pyannote's makers.
    set_telemetry_metrics(False)
    return torch, audio
