"""Optical density: the light absorbed by stain, which unlike grey values adds up over stains."""

import numpy as np

# Colours of the two stains: their densities in red, green and blue, as measured by Ruifrok and Johnston (Analytical and
# Quantitative Cytology and Histology 23, 2001) on singly stained sections.
HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
EOSIN = np.array([0.072, 0.990, 0.105])
DARKEST_GLASS = 230.0  # lower bound of the brightness of glass, for pictures of tissue only
GLASS_PERCENTILE = 95.0  # of the whole slide; above are reflections
_LOG_OF_GREY = np.log1p(np.arange(256, dtype=np.float32))  # a look-up is several times faster than a logarithm


def optical_density(pixels: np.ndarray, glass: np.ndarray | float = 255.0) -> np.ndarray:
    """Return ``-ln((I + 1) / (I0 + 1))``, float32, at least 0, of uint8 ``(..., 3)``; ``glass`` is I0."""
    white = np.broadcast_to(np.asarray(glass, dtype=np.float32), (3,))
    density = np.maximum(np.log1p(white) - _LOG_OF_GREY[pixels], np.float32(0))
    return np.asarray(density, dtype=np.float32)


def glass_colour(pixels: np.ndarray) -> np.ndarray:
    """Return the colour of empty glass on a whole slide, float ``(3,)``."""
    bright = np.percentile(pixels.reshape(-1, 3), GLASS_PERCENTILE, axis=0)
    return np.maximum(bright, DARKEST_GLASS)


def is_ink(density: np.ndarray) -> np.ndarray:
    """Return which pixels have the colour of pens, bool ``(...)``.

    Haematoxylin and eosin absorb green most, blue and green ink red: on four real slides no tissue pixel exceeded 0.32
    in ``(red - green) / mean``, ink has 0.5 and more. Black ink absorbs all three alike.
    """
    mean = density.mean(axis=-1)
    red, green = density[..., 0], density[..., 1]
    cold = (red - green > 0.45 * mean) & (mean > 0.2)
    black = (mean > 1.2) & (density.max(axis=-1) - density.min(axis=-1) < 0.25 * mean)
    return np.asarray(cold | black)
