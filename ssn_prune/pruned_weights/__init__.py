"""Pruned weights in a file that loads without the checkpoint and its gates."""
