"""Several checkpoints, each converted in a process of its own."""
