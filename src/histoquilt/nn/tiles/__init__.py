"""Training on tiles of a large graph."""
