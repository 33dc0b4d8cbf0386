"""From a network to its pruned copy: capture, plan, rewrite. The plan is plain data."""
