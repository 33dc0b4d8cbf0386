"""Architectures: the authors' networks, and how a name becomes a network."""
