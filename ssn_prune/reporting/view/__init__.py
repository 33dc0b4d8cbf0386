"""The content of a page as plain data: one file per section, made from a run alone."""
