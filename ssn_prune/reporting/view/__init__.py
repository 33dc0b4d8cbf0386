"""What a page shows, as plain data: a file for each section, made from a run only."""
