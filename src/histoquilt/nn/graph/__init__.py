"""Sparse graphs and the layers that pass messages along them."""
