"""Spatial factors, smoothed over the graph."""
