"""Conditions of a study compared between patients."""
