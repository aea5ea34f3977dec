#!/bin/sh
# Speech for training, from Debian packages: about 7 hours of recordings and 18 minutes of synthetic Telugu, 16 kHz, one
# folder a speaker.
#
#   examples/speech_data.sh [FOLDER]     (default: data/speech)
#   duplexforge data speech data/speech/train data/speech/held_out --test asterisk-fr --test fillets-nl \
#     --test synthetic-te-ravi --test synthetic-te-lakshmi --validation asterisk-it --out speech
#
# Writes FOLDER/train/<speaker>/*.flac and FOLDER/held_out/<speaker>/*.flac. Speakers are whole: nobody is in both. The
# recorded ones held out are those that benchmarks/codec_quality.py scores. The synthetic ones are four voices of espeak-ng,
# near 120, 100, 220 and 190 Hz, that read telugu.txt; a name that begins with "synthetic-" marks them, here and in the
# manifest of `duplexforge data speech`. Needs a Debian machine, root (or sudo) for the packages, and python3 with av,
# soundfile and soxr (PYTHON names another interpreter). What is there already is left alone.
#
# Licences: festvox-ru: BSD-like; asterisk-core-sounds-*: CC-BY-SA-3.0; fillets-ng-data-*: GPL-2+; espeak-ng: GPL-3+ (what
# it speaks is synthetic, and labelled so).
set -eu

folder=${1:-data/speech}
sentences=$(dirname "$0")/telugu.txt
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

"$python" - "$folder" "$sentences" <<'PYTHON'
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
# Voice and pitch of espeak-ng that come out near 120, 100, 220 and 190 Hz.
SYNTHETIC = {
    "train/synthetic-te-arjun": ("te", 69),
    "held_out/synthetic-te-ravi": ("te+m3", 47),
    "train/synthetic-te-priya": ("te+f3", 61),
    "held_out/synthetic-te-lakshmi": ("te+f2", 51),
}
WORDS_A_MINUTE = (150, 175, 130, 195)


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
for name, (voice, pitch) in SYNTHETIC.items():
    seconds = 0.0
    for number, text in enumerate(Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()):
        target = out / name / f"{number:03d}.flac"
        if not target.exists():
            speed = str(WORDS_A_MINUTE[number % len(WORDS_A_MINUTE)])
            with tempfile.NamedTemporaryFile(suffix=".wav") as spoken:
                command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", speed, "-w", spoken.name, text]
                subprocess.run(command, check=True)
                keep(target, read(Path(spoken.name)))
        seconds += sf.info(target).duration
    print(f"{name}: {seconds / 60:.1f} minutes, synthetic")
print(f"{empty} recordings shorter than 0.1 s were left out")
PYTHON
