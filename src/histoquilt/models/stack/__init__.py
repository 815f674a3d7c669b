"""Combinations of methods, with shares chosen on training sections left out in turn."""
