"""Nested domains."""
