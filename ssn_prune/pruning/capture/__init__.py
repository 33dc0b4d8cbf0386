"""From a network to facts: what feeds each switchable layer, and what it feeds."""
