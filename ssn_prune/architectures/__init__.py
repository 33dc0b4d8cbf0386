"""Architectures: the reference networks, and how a name becomes a network."""
