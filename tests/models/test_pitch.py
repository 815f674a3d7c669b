"""The distance of neighbouring spots, which grids on bare slides and default fields are laid out with."""

import anndata as ad
import numpy as np
import pytest
from scipy.spatial import cKDTree

import histoquilt as hq
from histoquilt.io import pitch
from histoquilt.models import microns

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
    assert pitch(points) == pytest.approx(PITCH, rel=0.01 if displaced else 1e-6)


@pytest.mark.parametrize("kind", ["square", "hexagonal"])
def test_lost_and_repeated_spots_do_not_matter(kind, rng):
    points = lattice(kind) + rng.normal(0, 9, (256, 2))
    points = points[rng.random(256) < 0.8]
    assert pitch(np.vstack([points, points[:40]])) == pytest.approx(PITCH, rel=0.015)


def test_scattered_cells_have_their_median_nearest_neighbour(rng):
    cells = rng.uniform(0, 1000, (300, 2))
    nearest = cKDTree(cells).query(cells, k=2)[0][:, 1]
    assert pitch(cells) == pytest.approx(np.median(nearest))
    assert pitch(np.zeros((3, 2))) == 1.0


def test_displaced_spots_train_the_pitch_of_bare_slides_and_the_fields(rng):
    sections = {}
    for name in ("s1", "s2"):
        points = lattice("square")[:96] + rng.normal(0, 9, (96, 2))
        adata = ad.AnnData(rng.poisson(2.0, (96, 12)).astype(np.float32), obsm={"spatial": points})
        adata.obsm["X_image"] = rng.normal(size=(96, 4)).astype(np.float32)
        hq.io.record_coordinates(adata, "micron")
        sections[name] = adata
    assert hq.im.default_fields(*(hq.im.spot_pitch(adata, mpp=1.0) for adata in sections.values()))[0] == 200.0
    model = hq.models.RidgeOnEmbedding().fit(sections, use_rep="X_image", progress=False)
    assert model.fitted.pitch_um == pytest.approx(PITCH, rel=0.015)


@pytest.mark.real_data
def test_legacy_st_has_its_pitch(data_dir):
    centres_um, _ = microns(ad.read_h5ad(data_dir / "her2st/C2.h5ad"), "C2")
    assert pitch(centres_um) == pytest.approx(PITCH, rel=0.02)
