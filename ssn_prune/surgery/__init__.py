"""Networks taken apart: copies, replaced modules, layers of other implementations."""
