"""Exporters of results to viewers and other programs: one file per format, and the function that runs them."""
