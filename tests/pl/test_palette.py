import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from histoquilt.pl import UNLABELLED, domain_colors, domain_palette

# Machado, Oliveira, Fernandes (2009), severity 1.0, on linear RGB
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65


def to_lab(colors: list[str], vision: str) -> np.ndarray:
    rgb = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1)
    xyz = seen @ RGB_TO_XYZ.T / RGB_TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.column_stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])])


def distances(colors: list[str], vision: str) -> np.ndarray:
    lab = to_lab(colors, vision)
    apart = np.sqrt(((lab[:, None] - lab[None]) ** 2).sum(axis=-1))
    np.fill_diagonal(apart, np.inf)
    return apart


def test_lab_of_known_colours():
    np.testing.assert_allclose(to_lab(["#ffffff", "#ff0000"], "normal"), [[100, 0, 0], [53.24, 80.09, 67.2]], atol=0.1)


def test_red_and_green_are_hard_for_deuteranopia():
    """The ruler itself: a pair that must fail, fails."""
    assert (
        distances(["#a05000", "#508000"], "deuteranopia")[0, 1] < 13 < distances(["#a05000", "#508000"], "normal")[0, 1]
    )


@pytest.mark.parametrize("vision", VISION)
def test_colours_can_be_told_apart(vision):
    apart = distances(domain_palette(24), vision)
    assert apart[:8, :8].min() >= 15
    assert apart.min() >= 13
    assert np.diag(apart, 1).min() >= 26


@pytest.mark.parametrize("vision", VISION)
def test_colours_differ_from_paper_and_from_unlabelled_grey(vision):
    apart = distances([*domain_palette(24), "#ffffff", UNLABELLED], vision)
    assert apart[:24, 24:].min() >= 10


def test_colour_i_does_not_depend_on_n():
    assert domain_palette(5) == domain_palette(24)[:5]
    assert len(set(domain_palette(72))) == 72


def test_a_negative_number_of_colours():
    with pytest.raises(ValueError, match="got -1"):
        domain_palette(-1)


def test_more_domains_than_colours_is_no_error():
    assert domain_palette(200)[72:74] == domain_palette(2)


@pytest.fixture
def labelled():
    adata = AnnData(np.ones((4, 1), dtype=np.float32))
    adata.obs["domain"] = pd.Categorical(["2", "1", "2", None], categories=["1", "2"])
    return adata


def test_colours_follow_the_order_of_the_categories(labelled):
    assert domain_colors(labelled, "domain") == {"1": "#0072b2", "2": "#e69f00"}


def test_colours_stored_by_scanpy_are_kept_only_when_they_fit(labelled):
    labelled.uns["domain_colors"] = ["red", "blue"]
    assert domain_colors(labelled, "domain") == {"1": "red", "2": "blue"}
    labelled.uns["domain_colors"] = ["red"]
    assert domain_colors(labelled, "domain")["1"] == "#0072b2"


def test_palette_wins_and_is_checked(labelled):
    assert domain_colors(labelled, "domain", {"2": "b", "1": "a"}) == {"1": "a", "2": "b"}
    assert domain_colors(labelled, "domain", ["a", "b", "c"]) == {"1": "a", "2": "b"}
    with pytest.raises(ValueError, match="no colour for '2'"):
        domain_colors(labelled, "domain", {"1": "a"})
    with pytest.raises(ValueError, match=r"1 colours.*2 categories"):
        domain_colors(labelled, "domain", ["a"])


def test_whole_numbers_sort_as_numbers():
    adata = AnnData(np.ones((12, 1), dtype=np.float32))
    adata.obs["cluster"] = [str(i) for i in range(12)]
    assert list(domain_colors(adata, "cluster")) == [str(i) for i in range(12)]
    adata.obs["cluster"] = [np.nan, *map(float, range(11))]
    assert list(domain_colors(adata, "cluster")) == [str(i) for i in range(11)]
