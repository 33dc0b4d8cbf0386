"""The demonstration: a small SSN network, trained on handwritten digits."""
