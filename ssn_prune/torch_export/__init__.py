"""The pruned network as a program of torch.export, in a .pt2 file."""
