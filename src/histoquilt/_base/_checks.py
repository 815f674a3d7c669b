"""Checks of plain values."""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral

from histoquilt._base._words import close_matches

LEAST_MPP, MOST_MPP = 0.05, 20.0  # a 100x oil objective has about 0.1, a picture for print 85 (300 dpi)


def check_n_domains(n_domains: int, n_spots: int) -> None:
    """Raise unless ``n_domains`` is a whole number between 1 and the number of spots.

    Examples
    --------
    >>> from histoquilt._base import check_n_domains
    >>> check_n_domains(7, n_spots=3000)
    >>> check_n_domains(7, n_spots=5)
    Traceback (most recent call last):
        ...
    ValueError: n_domains is 7, but there are only 5 spots. Ask for fewer domains.
    """
    if isinstance(n_domains, bool) or not isinstance(n_domains, Integral):
        raise TypeError(f"n_domains must be a whole number, got {n_domains!r}.")
    if n_domains < 1:
        raise ValueError(f"n_domains must be at least 1, got {n_domains}.")
    if n_domains > n_spots:
        raise ValueError(f"n_domains is {n_domains}, but there are only {n_spots:,} spots. Ask for fewer domains.")


def check_positive(value: float, name: str) -> None:
    """Raise ``ValueError`` unless a number is finite and greater than zero.

    Examples
    --------
    >>> from histoquilt._base import check_positive
    >>> check_positive(55.0, "field_um")
    >>> check_positive(0.0, "field_um")
    Traceback (most recent call last):
        ...
    ValueError: field_um must be positive, got 0.0.
    """
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be positive, got {value}.")


def check_mpp(mpp: float, what: str = "mpp") -> float:
    """Return ``mpp``, named ``what`` in messages, or raise ``ValueError`` if no microscope image can have it.

    Examples
    --------
    >>> from histoquilt._base import check_mpp
    >>> check_mpp(0.5)
    0.5
    >>> check_mpp(250)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: mpp is 250 microns per pixel; images of tissue have 0.05 to 20 (0.25 at 40x, 0.5 at ...
    """
    check_positive(mpp, what)
    if not LEAST_MPP <= mpp <= MOST_MPP:
        guess = " It looks like nanometres." if 50 <= mpp <= 2_000 else ""
        raise ValueError(
            f"{what} is {mpp:g} microns per pixel; images of tissue have {LEAST_MPP:g} to {MOST_MPP:g} (0.25 at 40x, "
            f"0.5 at 20x).{guess} Take it from the scanner, or from histoquilt.io.estimate_mpp(adata); it is neither "
            "pixels per micron nor a magnification."
        )
    return float(mpp)


def check_option_names(names: Iterable[str], known: Sequence[str], *, of: str) -> None:
    """Raise ``TypeError`` for a name that is not an option, with a similar one if there is any.

    Examples
    --------
    >>> from histoquilt._base import check_option_names
    >>> check_option_names(["gense"], ["genes", "layer"], of="export")
    Traceback (most recent call last):
        ...
    TypeError: gense= is not an option of export. Did you mean genes=? Options: genes, layer.
    """
    for name in names:
        if name not in known:
            near = close_matches(name, known)
            meant = f" Did you mean {near[0]}=?" if near else ""
            raise TypeError(f"{name}= is not an option of {of}.{meant} Options: {', '.join(known)}.")
