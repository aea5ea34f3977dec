"""Qwen3-Omni's thinker as a duplex model: where it comes from, its forward over whole sequences, and its step by chunks."""
