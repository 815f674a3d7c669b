"""Domains of the toy tissue in microns, so that more spots mean more tissue.

Curved layers repeat through the plane; on top are islands, nearly a millimetre wide and 1.6 mm apart. Serial sections
cut the same tissue at different depths ``z``, between which borders move slowly.
"""

from dataclasses import dataclass

import numpy as np

PITCH_UM = 100.0  # hexagonal lattice of Visium
THICK_UM = (660.0, 740.0)  # layers alternate between these two ranges
THIN_UM = (390.0, 430.0)  # four spots across
ISLAND_SPACING_UM = 1600.0
ISLAND_RADIUS_UM = (450.0, 520.0)
ISLAND_JITTER_UM = 190.0
DEPTH_STRETCH = 1.5  # structures are this much longer across sections than within
CHUNK = 65_536  # spots at a time: bounds memory


class SmoothField:
    """Smooth random surface over the plane, a sum of plane waves, with mean 0 and standard deviation about 1."""

    def __init__(self, wavelength_um: float, rng: np.random.Generator, n_waves: int = 20) -> None:
        angle = (np.arange(n_waves) + rng.random(n_waves)) * (2 * np.pi / n_waves)
        length = wavelength_um * rng.uniform(0.75, 1.75, n_waves)
        number = 2 * np.pi / length
        across = number / DEPTH_STRETCH * rng.uniform(-1, 1, n_waves)
        self.waves = np.stack([number * np.cos(angle), number * np.sin(angle), across])  # (3, n_waves), 1 / micron
        self.phase = rng.uniform(0, 2 * np.pi, n_waves)

    def __call__(self, points: np.ndarray, z: float) -> np.ndarray:
        """Return the surface at ``points`` (n, 2) in microns, float64 ``(n,)``."""
        values = np.empty(len(points))
        for start in range(0, len(points), CHUNK):
            rows = slice(start, start + CHUNK)
            values[rows] = np.cos(points[rows] @ self.waves[:2] + (z * self.waves[2] + self.phase)).sum(axis=1)
        return values * np.sqrt(2 / len(self.phase))


@dataclass(frozen=True)
class Anatomy:
    """Layers ``0..n_layers-1`` and islands up to ``n_domains-1`` of one tissue. Made by :func:`plan_anatomy`."""

    layer_ends_um: np.ndarray  # (n_layers,) depth at which each layer ends
    direction: np.ndarray  # (2,) unit vector across the layers
    warp: SmoothField  # bends the layers
    warp_um: float
    island_domains: np.ndarray  # codes of the domains that are islands, may be empty
    island_spacing_um: float
    island_centres: np.ndarray  # (n_cells, n_cells, 2) offsets from the middle of each cell, microns
    island_radii_um: np.ndarray  # (n_cells, n_cells)
    wobble: SmoothField  # of the outlines of the islands
    outline: np.ndarray  # (n_harmonics, 2) cosine and sine parts of the tissue's outline

    def domain_at(self, points: np.ndarray, z: float) -> np.ndarray:
        """Return the domain of every point ``(n, 2)`` in microns, int64 ``(n,)``."""
        total = self.layer_ends_um[-1]
        depth = np.mod(points @ self.direction + self.warp_um * self.warp(points, z), total)
        domain = np.searchsorted(self.layer_ends_um[:-1], depth, side="right")
        if len(self.island_domains):
            cell = np.floor(points / self.island_spacing_um).astype(np.int64)
            stride = 2 if len(self.island_domains) > 2 else 1  # up to four kinds show within two by two cells
            kind = (cell[:, 0] + stride * cell[:, 1]) % len(self.island_domains)
            n_cells = len(self.island_radii_um)
            row, column = (cell % n_cells).T
            centre = (cell + 0.5) * self.island_spacing_um + self.island_centres[row, column]
            reach = self.island_radii_um[row, column] * (1 + 0.15 * np.tanh(self.wobble(points, z)))
            inside = ((points - centre) ** 2).sum(axis=1) < reach**2
            domain[inside] = self.island_domains[kind[inside]]
        return domain


def relative_radius(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Return the distance of each point from the centre relative to the outline of the tissue, float64 ``(n,)``."""
    angle = np.arctan2(points[:, 1], points[:, 0])
    edge = np.ones(len(points))
    for harmonic, (cosine, sine) in enumerate(outline, start=2):
        edge += cosine * np.cos(harmonic * angle) + sine * np.sin(harmonic * angle)
    return np.hypot(points[:, 0], points[:, 1]) / edge


def plan_anatomy(n_spots: int, n_domains: int, rng: np.random.Generator) -> Anatomy:
    """Draw a tissue. If the section is too small for every domain at full size, all are scaled down."""
    n_islands = n_domains // 3
    n_layers = n_domains - n_islands
    ranges = [THICK_UM if layer % 2 == 0 else THIN_UM for layer in range(n_layers)]
    thickness = np.array([rng.uniform(low, high) for low, high in ranges])
    diameter = np.sqrt(n_spots * PITCH_UM**2 * np.sqrt(3) / 2 * 4 / np.pi)
    shrink_layers = min(1.0, 0.75 * diameter / thickness.sum())
    # an area with every kind of island must fit
    shrink_islands = min(1.0, 0.7 * diameter / (ISLAND_SPACING_UM * np.ceil(np.sqrt(n_islands) + 0.5)))
    turn = rng.uniform(0, 2 * np.pi)
    n_cells = 64  # the islands repeat after 64 cells, tens of millimetres
    return Anatomy(
        layer_ends_um=np.cumsum(thickness) * shrink_layers,
        direction=np.array([np.cos(turn), np.sin(turn)]),
        warp=SmoothField(3200.0 * shrink_layers, rng),
        warp_um=220.0 * shrink_layers,
        island_domains=np.arange(n_layers, n_domains),
        island_spacing_um=ISLAND_SPACING_UM * shrink_islands,
        island_centres=rng.uniform(-1, 1, (n_cells, n_cells, 2)) * ISLAND_JITTER_UM * shrink_islands,
        island_radii_um=rng.uniform(*ISLAND_RADIUS_UM, (n_cells, n_cells)) * shrink_islands,
        wobble=SmoothField(500.0 * shrink_islands, rng),
        outline=rng.normal(0, 1, (4, 2)) * np.array([[0.06], [0.04], [0.025], [0.015]]),
    )


def place_spots(
    anatomy: Anatomy, n_spots: int, rng: np.random.Generator, *, reshape: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``n_spots`` innermost points of a hexagonal lattice, and the outline of the section.

    Points are ``(n_spots, 2)`` in microns around the centre, row by row; ``reshape`` is the change of the outline.
    """
    outline = anatomy.outline + reshape * rng.normal(0, 0.01, anatomy.outline.shape)
    row_um = PITCH_UM * np.sqrt(3) / 2
    reach = 1.6 * np.sqrt(n_spots * PITCH_UM * row_um / np.pi) + 2 * PITCH_UM
    n_rows, n_columns = int(2 * reach / row_um) + 1, int(2 * reach / PITCH_UM) + 1
    row, column = np.divmod(np.arange(n_rows * n_columns), n_columns)
    lattice = np.stack([(column + 0.5 * (row % 2)) * PITCH_UM, row * row_um], axis=1)
    points = lattice - reach + rng.uniform(0, PITCH_UM, 2)
    inside = np.argpartition(relative_radius(points, outline), n_spots - 1)[:n_spots]
    return points[np.sort(inside)], outline
