"""What may move from a normalizer into its neighbours: one file a rule, one table of all."""
