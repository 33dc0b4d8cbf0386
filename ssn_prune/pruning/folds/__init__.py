"""What may move from a normalizer into its neighbours: one file per rule, and one table."""
