"""Conditions compared between patients: composition, neighbourhoods, tests and their result."""
