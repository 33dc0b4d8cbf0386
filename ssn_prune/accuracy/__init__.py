"""How accurate a network is on images, and whether two networks differ by more than chance."""
