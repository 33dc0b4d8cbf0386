"""What a switchable layer becomes: one file per form, and one table."""
