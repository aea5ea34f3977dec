"""Streaming models shared by training and serving: the codec in its three modes, and what it is built of."""
