"""Counter-based random numbers: hashes of seed, step and spot, the same in every process and order of drawing."""

import numpy as np

_64_BITS = 2**64 - 1


def random_bits_for(*keys: int | np.ndarray) -> np.ndarray:
    """Hash whole numbers, or arrays ``(n,)`` of them, to ``(n,)`` uint64; the order of the keys matters.

    The hash is the finaliser of SplitMix64, applied key after key.

    Examples
    --------
    >>> one, other = random_bits_for(7, np.array([3, 4]))
    >>> bool(one == random_bits_for(7, 3)[0]), bool(one == other)
    (True, False)
    """
    bits = np.zeros(1, np.uint64)
    for key in keys:
        key_bits = key.astype(np.uint64) if isinstance(key, np.ndarray) else np.uint64(key & _64_BITS)
        bits = (bits ^ key_bits) + np.uint64(0x9E3779B97F4A7C15)  # zeros would stay zero without it
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return bits


def happens(rate: float, *keys: int | np.ndarray) -> np.ndarray:
    """Return true with probability ``rate`` for every tuple of keys, ``(n,)`` bool."""
    return (random_bits_for(*keys) >> np.uint64(11)) * 2.0**-53 < rate
