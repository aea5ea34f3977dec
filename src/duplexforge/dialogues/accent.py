"""A Telugu accent on English: the sounds that Telugu has, in the place of those that it has not.

``heavy`` says every word with Telugu's sounds: t and d are retroflex, th dental, w is v, z is j, and vowels keep one colour.
``mild`` does so in the words with th, w or v alone, where the accent is heard first, and leaves the others English; either is
spoken by the Telugu voice, with its rhythm and melody.
"""

from __future__ import annotations

import re

from duplexforge.dialogues.espeak import Espeak

__all__ = ["SOUNDS", "accented", "telugu"]

_ENGLISH, _TELUGU = "en-us", "te"
_HEARD_FIRST = re.compile(r"[TDwv]")
# espeak's mnemonics: American English on the left, Telugu on the right. What is not named here is alike in both.
SOUNDS = {
    "t": "t.", "d": "d.", "T": "t[", "D": "d[", "w": "v", "z": "dZ", "Z": "dZ", "t#": "d.", "t2": "t.", "?": "t.",
    "@": "a", "@2": "a", "@5": "a", "a#": "a", "I#": "i", "I2": "i", "I": "i", "i": "i", "0": "a:", "0#": "a", "V": "a",
    "aa": "a:", "A:": "a:", "O:": "a:", "O": "o", "O2": "o", "oU": "o:", "oU#": "o", "E": "e", "E2": "e", "eI": "e:",
    "u:": "u:", "U": "u", "3": "a_r", "3:": "a_r", "A@": "a:_r", "O@": "o:_r", "o@": "o:_r", "e@": "e_r", "i@": "i_j_a_r",
    "i@3": "i_j_a_r", "I@": "i_j_a", "U@": "u_r", "aI@": "aI_a", "aI3": "aI_a_r", "OI": "o_j", "@L": "a_l", "N": "n_g", ";": "",
    "l#": "l", "r-": "r", "n-": "a_n",
}  # fmt: skip


def accented(espeak: Espeak, words: tuple[str, ...], *, heavy: bool) -> tuple[str, ...]:
    """English ``words`` as the Telugu voice is to be given them: in its phonemes where the accent is heard."""
    sounds = espeak.phonemes(words, _ENGLISH)
    return tuple(_said(word, sound, heavy=heavy) for word, sound in zip(words, sounds, strict=True))


def _said(word: str, phonemes: str, *, heavy: bool) -> str:
    if not heavy and not _HEARD_FIRST.search(phonemes):
        return word
    stop = word[-1] if word[-1] in ",.?!" else ""
    return f"[[{telugu(phonemes)}]]{stop}"


def telugu(phonemes: str) -> str:
    """English phonemes in those of Telugu; the marks of stress stay before their vowels."""
    told = []
    for sound in phonemes.split("_"):
        mark = re.match(r"[',%=]*", sound)
        stress = mark.group() if mark else ""
        there = SOUNDS.get(sound[len(stress) :], sound[len(stress) :])
        if there:
            told.append(stress + there)
    return "_".join(told).replace("_", "|")
