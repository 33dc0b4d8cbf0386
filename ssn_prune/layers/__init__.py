"""Layers: the switchable normalizers, their concrete forms, and swaps between them."""
