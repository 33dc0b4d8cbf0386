"""Convert several checkpoints, each in its own process."""
