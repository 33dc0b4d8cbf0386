"""The formats of a report: a file each, and one table."""
