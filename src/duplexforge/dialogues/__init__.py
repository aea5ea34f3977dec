"""A corpus of closed-domain dialogues: questions and fitting answers, spoken by espeak-ng in many voices and moods."""
