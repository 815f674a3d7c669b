"""Blur, pen and folds: planted on the toy slide, found where they were planted and nowhere else."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import histoquilt as hq


@pytest.fixture(scope="module")
def toy() -> np.ndarray:
    return hq.datasets.toy_slide(300, 40, seed=0, mpp=1.0)[1]


def covers(table, rows: slice, columns: slice):
    """Squares of 200 px of which planted pixels cover at least a quarter in each direction, and those they touch."""
    top, left = table["y"] - 100, table["x"] - 100
    high = np.minimum(rows.stop, top + 200) - np.maximum(rows.start, top)
    wide = np.minimum(columns.stop, left + 200) - np.maximum(columns.start, left)
    return (high > 0) & (wide > 0), high, wide


def test_a_clean_slide_has_no_flags(toy):
    table = hq.im.slide_quality(toy, mpp=1.0)
    assert len(table) > 60
    assert not table[["blurred", "pen", "fold"]].any(axis=None)
    assert table.index[0].startswith("x")
    assert abs(table["sharpness"].median() - 1) < 1e-6


def test_blur_is_found(toy):
    image = toy.copy()
    rows, columns = slice(800, 1200), slice(1000, 1400)
    image[rows, columns] = gaussian_filter(image[rows, columns].astype(float), (4, 4, 0))
    table = hq.im.slide_quality(image, mpp=1.0)
    _, high, wide = covers(table, rows, columns)
    whole = (high >= 200) & (wide >= 200)
    assert whole.sum() == 4
    assert table.loc[whole, "blurred"].all()
    assert not table.loc[~whole, "blurred"].any()
    assert not table[["pen", "fold"]].any(axis=None)


@pytest.mark.parametrize("ink", [(30, 60, 190), (30, 150, 70), (25, 26, 28)], ids=["blue", "green", "black"])
def test_pen_is_found_on_tissue_and_on_glass(toy, ink):
    image = toy.copy()
    on_tissue, on_glass = (slice(1010, 1060), slice(800, 1600)), (slice(20, 70), slice(200, 600))
    image[on_tissue] = ink
    image[on_glass] = ink
    table = hq.im.slide_quality(image, mpp=1.0)
    touched = covers(table, *on_tissue)[0] | covers(table, *on_glass)[0]
    assert touched.sum() == 6
    assert table.loc[touched, "pen"].all()
    assert not table.loc[~touched, "pen"].any()


def test_a_fold_is_found(toy):
    image = toy.copy()
    rows, columns = slice(810, 1390), slice(1030, 1110)
    light = image[rows, columns].astype(float) / 243
    image[rows, columns] = 243 * light * light[::-1] * light[:, ::-1]  # tissue three layers deep
    table = hq.im.slide_quality(image, mpp=1.0)
    touched, _, _ = covers(table, rows, columns)
    assert touched.sum() == 3
    assert table.loc[touched, "fold"].sum() >= 2  # the middle one crosses pale tissue, folded no darker than the rest
    assert not table.loc[~touched, ["blurred", "fold"]].any(axis=None)


def test_a_coarse_image_is_not_judged_for_blur(toy):
    small = toy[: toy.shape[0] // 4 * 4, : toy.shape[1] // 4 * 4]
    small = small.reshape(small.shape[0] // 4, 4, small.shape[1] // 4, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
    table = hq.im.slide_quality(small, mpp=4.0)
    assert table["sharpness"].isna().all()
    assert not table["blurred"].any()


def test_what_cannot_be_judged_is_refused(toy):
    with pytest.raises(ValueError, match="cell_um must be positive"):
        hq.im.slide_quality(toy, mpp=1.0, cell_um=0)
    with pytest.raises(ValueError, match="has no tissue"):
        hq.im.slide_quality(np.full((300, 300, 3), 244, dtype=np.uint8), mpp=1.0)


@pytest.mark.real_data
def test_a_real_section_has_few_flags(data_dir):
    with hq.io.open_slide(data_dir / "her2st" / "C2.jpg") as slide:
        table = hq.im.slide_quality(slide, mpp=0.692)
    assert len(table) > 150
    assert not table["pen"].any()
    assert table[["blurred", "fold"]].any(axis=1).mean() < 0.05
