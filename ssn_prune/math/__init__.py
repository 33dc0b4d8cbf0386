"""Mathematics: gates, moments and fold algebra on tensors. Nothing here reads or writes files."""
