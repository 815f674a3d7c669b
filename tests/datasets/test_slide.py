"""The toy slide: spots lie on the tissue, and domains and expression can be read off the pixels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from histoquilt.datasets import toy_slide


@pytest.fixture(scope="module")
def slide():
    return toy_slide(seed=0)


def patches(adata, image, side_um: float = 80.0) -> list[np.ndarray]:
    half = int(side_um / adata.uns["histoquilt"]["coordinates"]["mpp"] / 2)
    centres = np.rint(adata.obsm["spatial"]).astype(int)
    return [image[y - half : y + half, x - half : x + half] for x, y in centres]


def looks(adata, image) -> np.ndarray:
    """Colour, its spread, and how much is nucleus, for each spot: nothing that knows how the slide was made."""
    rows = []
    for patch in patches(adata, image):
        patch = patch.astype(float)
        red = patch[..., 0]
        fine = [np.abs(np.diff(red, axis=axis)).mean() for axis in (0, 1)]
        rows.append([*patch.mean(axis=(0, 1)), *patch.std(axis=(0, 1)), (red < 150).mean(), (red < 110).mean(), *fine])
    return np.array(rows)


def test_the_contract(slide):
    adata, image = slide
    assert adata.n_obs == 300
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert adata.uns["histoquilt"]["coordinates"] == {"unit": "pixel", "mpp": 1.0, "pitch_um": 100.0}
    assert adata.uns["histoquilt"]["scale"] == {"X": "counts"}
    library = adata.uns["spatial"]["toy_slide"]
    assert max(library["images"]["lowres"].shape) <= 600
    assert library["scalefactors"]["spot_diameter_fullres"] == 55.0


def test_tissue_lies_on_white_glass_and_every_spot_on_tissue(slide):
    adata, image = slide
    corners = np.concatenate([image[:80, :80].ravel(), image[-80:, -80:].ravel()])
    assert corners.min() > 225
    assert abs(corners.mean() - 242.5) < 2
    brightness = np.array([patch.mean() for patch in patches(adata, image, 55.0)])
    assert (brightness < 225).all()


def test_tissue_is_pink_with_blue_nuclei(slide):
    _, image = slide
    pixels = image.reshape(-1, 3).astype(int)
    nuclei = pixels[pixels[:, 0] < 120]
    between = pixels[(pixels[:, 0] > 170) & (pixels[:, 1] < 190)]
    assert 0.01 < len(nuclei) / len(pixels) < 0.25
    assert (nuclei[:, 2] > nuclei[:, 0]).mean() > 0.9
    assert (between[:, 0] > between[:, 2]).mean() > 0.7
    assert (between[:, 2] > between[:, 1]).mean() > 0.95


def test_the_lowres_image_is_the_image(slide):
    adata, image = slide
    library = adata.uns["spatial"]["toy_slide"]
    small, factor = library["images"]["lowres"], library["scalefactors"]["tissue_lowres_scalef"]
    at = (adata.obsm["spatial"] * factor).astype(int)
    side = round(1 / factor)
    for x, y in at[::30]:
        block = image[y * side : (y + 1) * side, x * side : (x + 1) * side].mean(axis=(0, 1))
        assert small[y, x] == pytest.approx(block, abs=1)


def test_expression_is_partly_predictable_from_pixels(slide):
    adata, image = slide
    counts = adata.X.toarray()
    logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    genes = np.flatnonzero((adata.var["marker_of"] != "").to_numpy() & (counts.mean(axis=0) > 0.5))
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 3, 9)))
    folds = KFold(5, shuffle=True, random_state=0)

    def median_correlation(features: np.ndarray) -> float:
        predicted = cross_val_predict(model, features, logged[:, genes], cv=folds)
        return np.median([np.corrcoef(predicted[:, i], logged[:, gene])[0, 1] for i, gene in enumerate(genes)])

    features = looks(adata, image)
    shuffled = np.random.default_rng(0).permutation(features)
    assert 0.2 < median_correlation(features) < 0.9
    assert median_correlation(shuffled) < 0.1


def test_pixels_tell_more_than_the_domain(slide):
    """With the mean of each domain taken away, the mixture of cells under a spot still shows."""
    adata, image = slide
    domain = adata.obs["domain_true"]
    counts = adata.X.toarray()
    share = np.stack([counts[:, adata.var["marker_of"] == name].sum(axis=1) for name in domain.cat.categories], axis=1)
    share /= counts.sum(axis=1, keepdims=True)

    def within(values: np.ndarray) -> np.ndarray:
        frame = pd.DataFrame(values, index=adata.obs_names)
        return (frame - frame.groupby(domain, observed=True).transform("mean")).to_numpy()

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 3, 9)))
    folds = KFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(model, within(looks(adata, image)), within(share), cv=folds)
    found = [np.corrcoef(predicted[:, i], within(share)[:, i])[0, 1] for i in range(share.shape[1])]
    assert np.mean(found) > 0.2, found


def test_half_the_mpp_is_twice_the_pixels():
    one, coarse = toy_slide(100, 60, seed=5, mpp=4.0)
    two, fine = toy_slide(100, 60, seed=5, mpp=2.0)
    assert (one.X != two.X).nnz == 0
    assert fine.shape[0] == pytest.approx(2 * coarse.shape[0], abs=2)
    assert two.obsm["spatial"] == pytest.approx(2 * one.obsm["spatial"])


def test_same_seed_same_slide():
    one, image = toy_slide(100, 60, seed=1, mpp=4.0)
    two, again = toy_slide(100, 60, seed=1, mpp=4.0)
    _, other = toy_slide(100, 60, seed=2, mpp=4.0)
    assert np.array_equal(image, again)
    assert (one.X != two.X).nnz == 0
    assert image.shape != other.shape or not np.array_equal(image, other)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of scanpy, on its own function
def test_squidpy_and_scanpy_draw_it(slide):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import scanpy as sc
    import squidpy as sq

    adata, _ = slide
    axes = sc.pl.spatial(adata.copy(), color="domain_true", show=False)
    assert axes[0].images
    _, ax = plt.subplots()
    sq.pl.spatial_scatter(adata.copy(), color="domain_true", img_res_key="lowres", ax=ax)
    assert ax.images
    plt.close("all")


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="mpp must be positive"):
        toy_slide(mpp=0)
    with pytest.raises(ValueError, match=r"nuclei.*do not show above 4"):
        toy_slide(mpp=10)
    with pytest.raises(ValueError, match="too few to show 4 domains"):
        toy_slide(n_spots=10)


def test_it_survives_a_file(slide, tmp_path):
    import anndata

    adata, _ = slide
    adata.write_h5ad(tmp_path / "slide.h5ad")
    back = anndata.read_h5ad(tmp_path / "slide.h5ad")
    library = back.uns["spatial"]["toy_slide"]
    assert np.array_equal(library["images"]["lowres"], adata.uns["spatial"]["toy_slide"]["images"]["lowres"])
    assert back.uns["histoquilt"]["coordinates"]["unit"] == "pixel"
    assert (back.var["marker_of"] == adata.var["marker_of"]).all()
