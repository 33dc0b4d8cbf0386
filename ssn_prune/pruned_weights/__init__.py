"""Pruned weights in a file that loads again without the checkpoint and its gates."""
