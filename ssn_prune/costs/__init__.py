"""What each pair of normalizers costs at each layer, measured in the runtime."""
