"""Checks of plain values."""

import math
from numbers import Integral


def check_n_domains(n_domains: int, n_spots: int) -> None:
    """Raise unless ``n_domains`` is a whole number between 1 and the number of spots."""
    if isinstance(n_domains, bool) or not isinstance(n_domains, Integral):
        raise TypeError(f"n_domains must be a whole number, got {n_domains!r}.")
    if n_domains < 1:
        raise ValueError(f"n_domains must be at least 1, got {n_domains}.")
    if n_domains > n_spots:
        raise ValueError(f"n_domains is {n_domains}, but there are only {n_spots:,} spots. Ask for fewer domains.")


def check_positive(value: float, name: str) -> None:
    """Raise ``ValueError`` unless a number is finite and greater than zero."""
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be positive, got {value}.")
