"""Search: which layers can have a cheaper pair of normalizers, and what that saves."""
