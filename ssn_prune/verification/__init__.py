"""Verification: exact algebra in float64, and the exported file's rounding error."""
