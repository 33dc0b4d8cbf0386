"""What a switchable layer becomes: one file a form, one table of all."""
