"""The (N, C) algebra of a layer and its gates in plain numbers: what the CPU path runs on."""
