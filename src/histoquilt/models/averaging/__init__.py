"""Principal components of unit length, averaged over the spatial graph."""
