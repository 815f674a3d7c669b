"""One definition of the distance of neighbouring spots, for lattices and for scattered cells."""

import anndata as ad
import numpy as np
import pytest

from histoquilt.study import Section, spot_pitch

PITCH = 200.0


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def lattice(kind):
    i, j = np.meshgrid(np.arange(16), np.arange(16))
    if kind == "square":
        return np.stack([i, j], axis=-1).reshape(-1, 2) * PITCH
    return np.stack([i + 0.5 * (j % 2), j * 3**0.5 / 2], axis=-1).reshape(-1, 2) * PITCH


def turned(points, degrees):
    angle = np.deg2rad(degrees)
    return points @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize("kind", ["square", "hexagonal"])
@pytest.mark.parametrize("displaced", [0, 4, 9, 14])
@pytest.mark.parametrize("degrees", [0, 17])
def test_lattices_have_their_pitch_however_displaced(kind, displaced, degrees, rng):
    points = turned(lattice(kind), degrees) + rng.normal(0, displaced, (256, 2))
    assert spot_pitch(points) == pytest.approx(PITCH, rel=0.01 if displaced else 1e-6)


@pytest.mark.parametrize("kind", ["square", "hexagonal"])
def test_lost_and_repeated_spots_do_not_matter(kind, rng):
    points = lattice(kind) + rng.normal(0, 9, (256, 2))
    points = points[rng.random(256) < 0.8]
    assert spot_pitch(np.vstack([points, points[:40]])) == pytest.approx(PITCH, rel=0.015)


@pytest.mark.parametrize("n_cells", [2_000, 60_000])
def test_pitch_of_scattered_cells_is_that_of_a_lattice_as_dense(n_cells):
    rng = np.random.default_rng(1)
    cells = rng.uniform(0, 100 * np.sqrt(n_cells), size=(n_cells, 2))  # one cell per 100 x 100
    assert spot_pitch(cells) == pytest.approx(100, rel=0.12)
    assert spot_pitch(np.vstack([cells, cells[:50]])) == pytest.approx(spot_pitch(cells), rel=0.01)


def test_pitch_of_few_places():
    assert spot_pitch(np.zeros((3, 2))) == 1
    assert spot_pitch(np.array([[0.0, 0], [0, 7]])) == 7


@pytest.mark.real_data
def test_legacy_st_has_its_pitch(data_dir):
    section = Section("C2", ad.read_h5ad(data_dir / "her2st/C2.h5ad"))
    assert section.pitch_um == pytest.approx(PITCH, rel=0.02)
