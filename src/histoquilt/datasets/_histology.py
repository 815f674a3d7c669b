"""H&E-like image of a toy section, painted from the cells that also determine the counts.

Light is absorbed by two stains (Beer and Lambert): haematoxylin in nuclei, eosin between them. Cell types differ in
size, darkness and number of nuclei, domains in eosin and grain.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial import cKDTree

from histoquilt.datasets._anatomy import relative_radius
from histoquilt.datasets._expression import Genes
from histoquilt.datasets._section import Section, Tissue

GLASS = 243.0  # grey value of empty glass
HAEMATOXYLIN = np.array([0.62, 0.72, 0.30], dtype=np.float32)  # absorption of red, green, blue
EOSIN = np.array([0.10, 0.93, 0.34], dtype=np.float32)
MARGIN_UM = 220.0  # glass around the tissue
RIM_UM = 60.0  # tissue beyond the outermost spots
MAP_UM = 8.0  # resolution of the domains
NUCLEI_GRID_UM = 8.5  # squares with one nucleus at most
NUCLEI_PER_CHUNK = 4096


@dataclass(frozen=True)
class Stain:
    """Looks of the cells and domains of one tissue. Made by :func:`plan_stain`."""

    density: np.ndarray  # (n_cell_types,) share of the nuclear grid that is filled
    radius_um: np.ndarray  # (n_cell_types,)
    darkness: np.ndarray  # (n_cell_types,) absorption of a nucleus
    elongation: np.ndarray  # (n_cell_types,) long over short axis
    eosin: np.ndarray  # (n_domains,) absorption between nuclei
    grain: np.ndarray  # (n_domains,) strength of the fibres
    along_x: np.ndarray  # (n_domains,) share of fibres that run along x


def plan_stain(n_domains: int, n_types: int, rng: np.random.Generator) -> Stain:
    """Draw the looks of a tissue, evenly spread, so that no two domains look alike."""

    def spread(low: float, high: float, n: int) -> np.ndarray:
        return rng.permutation(np.linspace(low, high, n))

    return Stain(
        density=np.concatenate([spread(0.08, 0.55, n_domains), spread(0.15, 0.35, n_types - n_domains)]),
        radius_um=np.concatenate([spread(2.6, 4.3, n_domains), spread(2.3, 3.2, n_types - n_domains)]),
        darkness=spread(0.8, 1.5, n_types),
        elongation=spread(1.1, 2.2, n_types),
        eosin=spread(0.24, 0.58, n_domains),
        grain=spread(0.12, 0.38, n_domains),
        along_x=spread(0.0, 1.0, n_domains),
    )


def paint(
    tissue: Tissue, section: Section, stain: Stain, mpp: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of a section, uint8 ``(height, width, 3)``, and its upper left corner ``(x, y)`` in microns."""
    anatomy, points, z = tissue.anatomy, section.points, section.z
    corner = points.min(axis=0) - RIM_UM - MARGIN_UM
    width, height = np.ceil((points.max(axis=0) + RIM_UM + MARGIN_UM - corner) / mpp).astype(int)
    x_um = np.arange(0, width * mpp + MAP_UM, MAP_UM) + corner[0]
    y_um = np.arange(0, height * mpp + MAP_UM, MAP_UM) + corner[1]
    grid = np.stack(np.meshgrid(x_um, y_um), axis=-1).reshape(-1, 2)
    shape = (len(y_um), len(x_um))

    def to_pixels(coarse: np.ndarray) -> np.ndarray:
        fine = zoom(coarse.reshape(shape).astype(np.float32), MAP_UM / mpp, order=1, grid_mode=False)
        return fine[:height, :width]

    def smooth(of_domain: np.ndarray) -> np.ndarray:
        return gaussian_filter(of_domain[domain].reshape(shape), 1.5)

    edge = relative_radius(points, section.outline).max() + RIM_UM
    ragged = 18.0 * anatomy.wobble(grid * 1.5, z)  # microns; somewhat finer than the islands' outlines
    opacity = np.clip((edge - to_pixels(relative_radius(grid, section.outline) + ragged)) / (4.0 * mpp), 0, 1)

    domain = anatomy.domain_at(grid, z)
    eosin, grain = to_pixels(smooth(stain.eosin)), to_pixels(smooth(stain.grain))
    along = to_pixels(smooth(stain.along_x) + 0.15 * _noise(shape, (5.0, 5.0), rng))
    fibres = np.where(
        along > 0.5, _noise(eosin.shape, (1.4 / mpp, 9 / mpp), rng), _noise(eosin.shape, (9 / mpp, 1.4 / mpp), rng)
    )
    # bend the straight fibres by a smoothly varying shift of the pixels
    bend = [to_pixels(40.0 / mpp * _noise(shape, (9.0, 9.0), rng)).astype(np.int32) for _ in range(2)]
    row, column = np.ogrid[:height, :width]
    fibres = fibres[np.clip(row + bend[0], 0, height - 1), np.clip(column + bend[1], 0, width - 1)]
    patches = to_pixels(_noise(shape, (4.0, 4.0), rng))
    eosin *= np.clip(1 + grain * fibres + 0.15 * patches, 0.05, None)

    nuclei = _paint_nuclei(tissue.genes, section, stain, corner, eosin.shape, mpp, rng)
    chromatin = 1 + 0.15 * _noise(eosin.shape, (1.0 / mpp, 1.0 / mpp), rng)
    blue = (nuclei * chromatin + 0.06 + 0.10 * eosin) * opacity
    eosin *= opacity * (1 - 0.6 * np.clip(nuclei, 0, 1))
    image = np.empty((height, width, 3), dtype=np.uint8)
    for channel in range(3):
        light = GLASS * np.exp(-HAEMATOXYLIN[channel] * blue - EOSIN[channel] * eosin)
        light += rng.standard_normal(light.shape, dtype=np.float32) * 1.5  # the camera
        image[..., channel] = np.clip(light, 0, 255)
    return image, corner


def _noise(shape: tuple[int, int], sigma_px: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise with standard deviation 1, float32."""
    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma_px, mode="reflect", truncate=3.0)
    return noise / noise.std()


def _paint_nuclei(
    genes: Genes, section: Section, stain: Stain, corner: np.ndarray, shape: tuple[int, ...], mpp: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Return the absorption by nuclei, float32 ``(height, width)``; a nucleus belongs to the nearest spot."""
    n_rows, n_columns = (np.array(shape) * mpp / NUCLEI_GRID_UM).astype(int)
    row, column = np.divmod(np.arange(n_rows * n_columns), n_columns)
    place = (np.stack([column, row], axis=1) + rng.uniform(0.15, 0.85, (len(row), 2))) * NUCLEI_GRID_UM  # microns
    spot = cKDTree(section.points).query(place + corner)[1]
    cellularity = np.exp(0.35 * genes.cellularity(place + corner, section.z))
    density = cellularity[:, None] * section.cells.proportions[spot] * stain.density
    up_to = np.cumsum(density, axis=1)
    kind = (rng.random(len(spot))[:, None] >= up_to).sum(axis=1)  # past the last type: no nucleus
    there = kind < up_to.shape[1]
    kind, place = kind[there], place[there]

    radius = stain.radius_um[kind] * rng.lognormal(0, 0.15, len(kind)) / mpp
    stretch = np.sqrt(1 + (stain.elongation[kind] - 1) * rng.uniform(0.5, 1.5, len(kind)))
    angle = rng.uniform(0, np.pi, len(kind))
    darkness = stain.darkness[kind] * rng.lognormal(0, 0.2, len(kind))
    reach = int(np.ceil((radius * stretch).max() * 1.3)) + 1 if len(kind) else 0
    dy, dx = (step.ravel() for step in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    layer = np.zeros(shape, dtype=np.float32)
    for start in range(0, len(kind), NUCLEI_PER_CHUNK):
        some = slice(start, start + NUCLEI_PER_CHUNK)
        centre = place[some] / mpp
        x = np.floor(centre[:, :1]).astype(int) + dx  # (n_nuclei, n_stamp)
        y = np.floor(centre[:, 1:]).astype(int) + dy
        off_x, off_y = x - centre[:, :1], y - centre[:, 1:]
        cos, sin = np.cos(angle[some])[:, None], np.sin(angle[some])[:, None]
        long = (cos * off_x + sin * off_y) / (radius * stretch)[some][:, None]
        short = (cos * off_y - sin * off_x) / (radius / stretch)[some][:, None]
        # soft rim, a little darker towards it like chromatin
        far = np.hypot(long, short)
        ink = darkness[some][:, None] * np.clip((1.15 - far) / 0.3, 0, 1) * (0.75 + 0.25 * np.minimum(far, 1))
        on = (ink > 0) & (x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0])
        np.maximum.at(layer, (y[on], x[on]), ink[on].astype(np.float32))
    return layer
