"""The demo: a small SSN network, trained on handwritten digits."""
