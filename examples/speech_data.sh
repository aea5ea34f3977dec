#!/bin/sh
# Recorded speech for the codec, from Debian packages: about 7 hours, 16 kHz, one folder a speaker.
#
#   examples/speech_data.sh [FOLDER]     (default: data/speech)
#
# Writes FOLDER/train/<speaker>/*.flac, FOLDER/held_out/<speaker>/*.flac and a little of FOLDER/synthetic (Telugu). Speakers are whole: nobody is in both. The
# held-out ones are those that benchmarks/codec_quality.py scores. Needs a Debian machine, root (or sudo) for the packages,
# and python3 with av, soundfile and soxr (PYTHON names another interpreter). What is there already is left alone.
#
# Licences: festvox-ru: BSD-like; asterisk-core-sounds-*: CC-BY-SA-3.0; fillets-ng-data-*: GPL-2+; espeak-ng: GPL-3+ (what
# it speaks is synthetic, and labelled so).
set -eu

folder=${1:-data/speech}
python=${PYTHON:-python3}
packages="festvox-ru asterisk-core-sounds-en-g722 asterisk-core-sounds-es-g722 asterisk-core-sounds-fr-g722
asterisk-core-sounds-it-g722 asterisk-core-sounds-ru-g722 fillets-ng-data-cs fillets-ng-data-nl espeak-ng"

missing=""
for package in $packages; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
if [ -n "$missing" ]; then
    root=""
    [ "$(id -u)" = 0 ] || root=sudo
    $root apt-get update
    # shellcheck disable=SC2086 # one word a package
    $root apt-get install -y --no-install-recommends $missing
fi

"$python" - "$folder" <<'PYTHON'
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import soundfile as sf
import soxr

RATE = 16_000
SOUNDS = Path("/usr/share")
RECORDED = {
    "train/asterisk-en": ("asterisk/sounds/en_US_f_Allison", "**/*.g722"),
    "train/asterisk-es": ("asterisk/sounds/es_MX_f_Allison", "**/*.g722"),
    "train/asterisk-ru": ("asterisk/sounds/ru_RU_f_IvrvoiceRU", "**/*.g722"),
    "train/festvox-ru": ("festival/voices/russian/msu_ru_nsh_clunits/wav", "*.wav"),
    "train/fillets-cs": ("games/fillets-ng/sound", "*/cs/*.ogg"),
    "held_out/asterisk-fr": ("asterisk/sounds/fr_CA_f_June", "**/*.g722"),
    "held_out/asterisk-it": ("asterisk/sounds/it_IT_m_Carlo", "**/*.g722"),
    "held_out/fillets-nl": ("games/fillets-ng/sound", "*/nl/*.ogg"),
}
TELUGU = ["నమస్కారం, మీరు ఎలా ఉన్నారు?", "ఈ రోజు వాతావరణం చాలా బాగుంది.", "మా ఊరు గోదావరి ఒడ్డున ఉంది.", "రేపు ఉదయం కలుద్దాం."]
PITCHES = {"arjun": 45, "ravi": 35, "priya": 80, "lakshmi": 65}


def read(path):
    if path.suffix == ".g722":
        with av.open(str(path), format="g722") as source:
            parts = [frame.to_ndarray().reshape(-1) for frame in source.decode(audio=0)]
        return np.concatenate(parts or [np.zeros(0, np.int16)]).astype(np.float32) / 32768
    sound, rate = sf.read(path, dtype="float32", always_2d=True)
    mono = sound.mean(axis=1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE, quality="VHQ")


def keep(target, sound):
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    sf.write(part, np.clip(sound, -1, 1), RATE, format="FLAC", subtype="PCM_16")
    part.rename(target)


out, empty = Path(sys.argv[1]), 0
for name, (place, pattern) in RECORDED.items():
    root, seconds = SOUNDS / place, 0.0
    for path in sorted(root.glob(pattern)):
        target = out / name / ("_".join(path.relative_to(root).with_suffix("").parts) + ".flac")
        if not target.exists():
            sound = read(path)
            if len(sound) < RATE // 10:
                empty += 1
                continue
            keep(target, sound)
        seconds += sf.info(target).duration
    print(f"{name}: {seconds / 60:.1f} minutes")
for voice, pitch in PITCHES.items():
    for number, text in enumerate(TELUGU):
        target = out / "synthetic" / f"te-{voice}" / f"{number}.flac"
        if not target.exists():
            with tempfile.NamedTemporaryFile(suffix=".wav") as spoken:
                subprocess.run(["espeak-ng", "-v", "te", "-p", str(pitch), "-w", spoken.name, text], check=True)
                keep(target, read(Path(spoken.name)))
print(f"{empty} recordings shorter than 0.1 s were left out")
PYTHON
