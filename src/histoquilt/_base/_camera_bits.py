"""Bits of colour that cameras have, where a file has room for more."""

_DEPTHS = (8, 10, 12, 14, 16)


def camera_bits(highest: float) -> int:
    """Return the least bits of a camera that hold a value below 65,536.

    Examples
    --------
    >>> camera_bits(4_000)
    12
    """
    return next(bits for bits in _DEPTHS if highest < 2**bits)
