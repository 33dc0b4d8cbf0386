"""Completion in shells: three scripts that ask for candidates, and what gives them."""
