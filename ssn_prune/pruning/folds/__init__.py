"""What may move from a normalizer into its neighbours."""
