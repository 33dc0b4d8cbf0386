"""Rewrites of the exported graph."""
