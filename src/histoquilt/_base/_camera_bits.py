"""Bits per colour of cameras, which may be fewer than those of the file."""

_DEPTHS = (8, 10, 12, 14, 16)


def camera_bits(highest: float) -> int:
    """Return the smallest bit depth of a camera that holds a value below 65,536.

    Examples
    --------
    >>> camera_bits(4_000)
    12
    """
    return next(bits for bits in _DEPTHS if highest < 2**bits)
