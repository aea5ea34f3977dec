"""Servers that tests talk to: each speaks its protocol over a real socket, in a process of its own."""
