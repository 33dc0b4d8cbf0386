"""The cost of each pair of normalizers at each layer, measured in the runtime."""
