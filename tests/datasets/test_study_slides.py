"""Several toy slides of one tissue: what they share, what they do not, and that one teaches about another."""

import numpy as np
import pytest

from histoquilt.datasets import toy_slides


@pytest.fixture(scope="module")
def slides():
    return toy_slides(n_sections=3, n_spots=100, n_genes=60, n_domains=3, seed=0, mpp=4)


def colours(adata, image, side_px: int = 20) -> np.ndarray:
    half = side_px // 2
    cut = [image[y - half : y + half, x - half : x + half] for x, y in np.rint(adata.obsm["spatial"]).astype(int)]
    return np.array([patch.mean(axis=(0, 1)) for patch in cut])


def test_sections_share_genes_and_domains_and_have_images_of_their_own(slides):
    assert list(slides) == ["s1", "s2", "s3"]
    for number, (name, (adata, image)) in enumerate(slides.items()):
        assert adata.obs["section"].unique().tolist() == [name]
        assert (adata.obs["z_um"] == 100.0 * number).all()
        assert list(adata.uns["spatial"]) == [name]
        assert list(adata.var_names) == list(slides["s1"][0].var_names)
        assert image.dtype == np.uint8
        assert (adata.obsm["spatial"] < [image.shape[1], image.shape[0]]).all()
    first, second = slides["s1"][0], slides["s2"][0]
    assert (first.X != second.X).nnz > 1000


def test_domains_look_alike_in_all_sections(slides):
    """The mean colour of each domain in one section names the domains of the next."""
    (one, image), (two, other) = slides["s1"], slides["s2"]
    truth = one.obs["domain_true"].to_numpy()
    means = {name: colours(one, image)[truth == name].mean(axis=0) for name in np.unique(truth)}
    distance = np.stack([np.linalg.norm(colours(two, other) - mean, axis=1) for mean in means.values()])
    named = np.array(list(means))[distance.argmin(axis=0)]
    assert (named == two.obs["domain_true"].to_numpy()).mean() > 0.6


def test_the_same_seed_gives_the_same_slides_however_many(slides):
    again = toy_slides(n_sections=2, n_spots=100, n_genes=60, n_domains=3, seed=0, mpp=4)
    for name, (adata, image) in again.items():
        np.testing.assert_array_equal(image, slides[name][1])
        assert (adata.X != slides[name][0].X).nnz == 0


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="n_sections must be at least 1"):
        toy_slides(0)
    with pytest.raises(ValueError, match="do not show above 4"):
        toy_slides(2, mpp=5)
