"""Sparse graphs and message-passing layers."""
