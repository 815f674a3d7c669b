import anndata
import numpy as np
import pytest

from histoquilt.gr import lattice_neighbors


def lattice(n_side: int, *, hexagonal: bool) -> np.ndarray:
    rows, columns = np.divmod(np.arange(n_side**2), n_side)
    if hexagonal:
        return np.column_stack([columns + 0.5 * (rows % 2), rows * np.sqrt(3) / 2])
    return np.column_stack([columns, rows]).astype(float)


@pytest.mark.parametrize(("hexagonal", "expected"), [(True, 6), (False, 4)])
@pytest.mark.parametrize("jitter", [0, 0.03])
def test_lattices(hexagonal, expected, jitter):
    xy = lattice(20, hexagonal=hexagonal)
    xy += np.random.default_rng(0).normal(0, jitter, xy.shape)
    assert lattice_neighbors(xy * 137.0) == expected


def test_turned_shuffled_and_torn():
    xy = lattice(20, hexagonal=True)
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    kept = np.random.default_rng(0).permutation(400)[:340]  # every seventh spot is missing
    assert lattice_neighbors((xy @ turn)[kept]) == 6


def test_doubles_do_not_hide_the_lattice():
    xy = lattice(12, hexagonal=False)
    assert lattice_neighbors(np.vstack([xy, xy[:100]])) == 4


@pytest.mark.parametrize("seed", range(5))
def test_scattered_cells_are_no_lattice(seed):
    assert lattice_neighbors(np.random.default_rng(seed).uniform(0, 1, (500, 2))) is None


def test_a_line_and_a_handful_are_no_lattice():
    assert lattice_neighbors(np.column_stack([np.arange(50.0), np.zeros(50)])) is None
    assert lattice_neighbors(lattice(3, hexagonal=False)) is None
    assert lattice_neighbors(np.zeros((50, 2))) is None


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("dlpfc/151673.h5ad", 6),
        ("her2st/A1.h5ad", 4),
        ("her2st/B3.h5ad", 4),  # ragged: more spots at borders than inside
        ("als_spinal_cord/L6CN51_E1_2.h5ad", 4),  # 34 spots
        ("starmap/visual_cortex_BY3_1k.h5ad", None),
    ],
)
def test_real_sections(data_dir, path, expected):
    xy = np.asarray(anndata.read_h5ad(data_dir / path, backed="r").obsm["spatial"], dtype=float)
    assert lattice_neighbors(xy) == expected
