"""English of espeak-ng in four voices, for the base layer: a folder for each, named ``synthetic-en-<voice>``.

    python examples/synthetic_speech.py FOLDER [SENTENCES]

A sentence is 6 to 14 words, common ones and any of the dictionary that comes with pocketsphinx, which brings sounds next to
each other that few texts do. Pitch and pace change from sentence to sentence. The same seed gives the same sentences; 150 of
each voice are about 50 minutes. Needs espeak-ng, and pocketsphinx, soundfile and soxr of the project's environment.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import soundfile as sf
import soxr

RATE = 16_000
VOICES = {"arjun": ("en-us", 69), "ravi": ("en-us+m3", 47), "priya": ("en-us+f3", 61), "lakshmi": ("en-us+f2", 50)}
PACES = (130, 150, 165, 175, 190, 220)
COMMON = """the a to of and in is it you that he was for on are with as his they be at one have this from or had by hot
but some what there we can out other were all your when up use word how said an each she which do their time if will way
about many then them would write like so these her long make thing see him two has look more day could go come did my sound
no most number who over know water than call first people may down side been now find any new work part take get place made
live where after back little only round man year came show every good me give our under name very through just form great
think say help low line before turn cause same mean differ move right boy old too does tell sentence set three want air well
also play small end put home read hand large add even land here must big high such follow act why ask men change went light
kind off need house picture try us again animal point mother world near build self earth father"""


def dictionary() -> list[str]:
    """The words of pocketsphinx's dictionary, in its order."""
    found = find_spec("pocketsphinx")
    if found is None or found.origin is None:
        sys.exit("pocketsphinx is not installed: pip install 'duplexforge[process]'")
    path = Path(found.origin).parent / "model" / "en-us" / "cmudict-en-us.dict"
    words = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line[:1].isalpha()]
    return [word for word in words if "(" not in word]


def main(folder: Path, sentences: int) -> None:
    """Write the four folders."""
    chance, words, common = random.Random(1), dictionary(), COMMON.split()
    for number in range(sentences):
        for name, (voice, pitch) in VOICES.items():
            length = chance.randint(6, 14)
            chosen = [chance.choice(common) if chance.random() < 0.6 else chance.choice(words) for _ in range(length)]
            text = " ".join(chosen) + chance.choice("..?!")
            settings = ["-p", str(max(0, pitch + chance.randint(-8, 8))), "-s", str(chance.choice(PACES))]
            target = folder / f"synthetic-en-{name}" / f"{number:04d}.flac"
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(suffix=".wav") as spoken:
                subprocess.run(["espeak-ng", "-v", voice, *settings, "-w", spoken.name, text], check=True)
                sound, rate = sf.read(spoken.name, dtype="float32")
            sf.write(target, soxr.resample(sound, rate, RATE, quality="VHQ").clip(-1, 1), RATE)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(str(__doc__))
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 150)
