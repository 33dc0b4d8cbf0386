"""Search: which layers can use a cheaper pair of normalizers, and what that saves."""
