"""Spatial factors, smoothed over the spatial graph."""
