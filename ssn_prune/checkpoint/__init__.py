"""Reading checkpoints: file -> weights -> matched keys -> network."""
