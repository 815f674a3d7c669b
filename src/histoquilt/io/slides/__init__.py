"""Whole-slide images: opening, reading regions, resolution."""
