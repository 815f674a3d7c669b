"""Pieces side by side: put at given places, or stitched where they overlap."""

import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.align._transform import Similarity
from histoquilt.datasets import toy_section
from histoquilt.io import record_coordinates
from histoquilt.tl import place_sections, stitch_sections

PITCH = 100.0


@pytest.fixture(scope="module")
def whole():
    return toy_section(n_spots=1200, n_genes=200, n_domains=5, seed=3)


def share(adata):
    values = adata.obsm["spatial"][:, 0]
    return (values - values.min()) / np.ptp(values)


def measured_twice(whole):
    """Deal every count to one of two sections: of Poisson counts that gives two independent measurements."""
    first, second = whole.copy(), whole.copy()
    counts = csr_matrix(whole.X)
    dealt = counts.copy()
    dealt.data = np.random.default_rng(0).binomial(counts.data.astype(int), 0.5).astype(np.float32)
    first.X, second.X = dealt, counts - dealt
    return first, second


def overlapping(whole, low=0.35, high=0.65, *, angle=73.0, scale=1.7, mirrored=False):
    """The whole cut in two, each measured by itself; the second piece is turned, rescaled and shifted."""
    where = share(whole)
    first, second = measured_twice(whole)
    first, second = first[where <= high].copy(), second[where >= low].copy()
    truth = second.obsm["spatial"].copy()
    turn = Similarity.turn(np.radians(angle), scale=scale, mirrored=mirrored)
    second.obsm["spatial"] = turn(truth) + np.array([300.0, -4000.0])
    return first, second, truth


def error_in_pitches(adata, truth):
    return np.linalg.norm(adata.obsm["spatial_aligned"] - truth, axis=1).mean() / PITCH


@pytest.mark.parametrize(("angle", "scale", "mirrored"), [(73, 1.7, False), (-160, 0.4, False), (20, 1.0, True)])
def test_halves_find_each_other(whole, angle, scale, mirrored):
    first, second, truth = overlapping(whole, angle=angle, scale=scale, mirrored=mirrored)
    stitch_sections({"first": first, "second": second}, mirror=mirrored, progress=False)
    assert error_in_pitches(second, truth) < 0.5
    np.testing.assert_array_equal(first.obsm["spatial_aligned"], first.obsm["spatial"])
    found = second.uns["histoquilt"]["alignment"]["second"]
    assert found["scale"] == pytest.approx(1 / scale, rel=0.03)
    assert found["mirrored"] is mirrored
    assert found["agreement"] > 0.6
    assert found["evidence"] > 2
    np.testing.assert_allclose(
        second.obsm["spatial_aligned"], second.obsm["spatial"] @ found["matrix"].T + found["shift"]
    )


def test_lengths_stay_where_scaling_is_not_allowed(whole):
    first, second, truth = overlapping(whole, scale=1.0)
    stitch_sections([first, second], allow_scale=False, progress=False)
    assert second.uns["histoquilt"]["alignment"]["2"]["scale"] == pytest.approx(1.0)
    assert error_in_pitches(second, truth) < 0.5


def test_a_batch_effect_does_not_hide_the_overlap(whole):
    first, second, truth = overlapping(whole)
    rng = np.random.default_rng(0)
    counts = csr_matrix(second.X)
    counts.data = rng.poisson(counts.data * np.exp(rng.normal(0, 0.3, second.n_vars))[counts.indices]).astype(
        np.float32
    )
    counts.eliminate_zeros()
    second.X = counts
    stitch_sections([first, second], progress=False)
    assert error_in_pitches(second, truth) < 0.5


def test_three_pieces_in_a_row_are_joined_through_the_middle_one(whole):
    where = share(whole)
    first, second = measured_twice(whole)
    middle = (where > 0.25) & (where < 0.8)
    pieces = [first[where < 0.5].copy(), first[where > 0.55].copy(), second[middle].copy()]
    truth = [piece.obsm["spatial"].copy() for piece in pieces]
    for piece, angle in zip(pieces[1:], (50, -100), strict=True):
        piece.obsm["spatial"] = Similarity.turn(np.radians(angle))(piece.obsm["spatial"])
    stitch_sections(dict(zip("abc", pieces, strict=True)), progress=False)
    facts = pieces[0].uns["histoquilt"]["alignment"]
    assert facts["b"]["neighbor"] == "c"
    assert facts["c"]["neighbor"] == "a"
    assert {fact["reference"] for fact in facts.values()} == {"a"}
    for piece, place in zip(pieces, truth, strict=True):
        assert error_in_pitches(piece, place) < 1  # half a pitch for each step


def test_pieces_that_do_not_overlap_are_refused(whole):
    first, second, _ = overlapping(whole, 0.55, 0.45)
    with pytest.raises(ValueError, match=r"(?s)'second' could not be stitched.*by chance.*place_sections"):
        stitch_sections({"first": first, "second": second}, progress=False)
    assert "spatial_aligned" not in first.obsm


def test_a_piece_of_other_tissue_is_refused(whole):
    other = toy_section(n_spots=600, n_genes=200, n_domains=5, seed=77)
    other.var_names = whole.var_names
    with pytest.raises(ValueError, match="'2' could not be stitched"):
        stitch_sections([whole.copy(), other], progress=False)


def test_unknown_reference(whole):
    first, second, _ = overlapping(whole)
    with pytest.raises(ValueError, match=r"reference='third' is not a section \(found: 'first', 'second'\)"):
        stitch_sections({"first": first, "second": second}, reference="third")


def test_same_seed_same_result(whole):
    results = []
    for _ in range(2):
        first, second, _ = overlapping(whole)
        stitch_sections([first, second], seed=5, progress=False)
        results.append(second.obsm["spatial_aligned"])
    np.testing.assert_array_equal(*results)


# given places


def two_placed():
    square = np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=-1).reshape(-1, 2).astype(float)
    adata = AnnData(np.ones((50, 3), np.float32), obsm={"spatial": np.concatenate([square, square]) * 400})
    adata.obs_names = [f"spot{i}" for i in range(50)]
    adata.obs["section"] = np.repeat(["left", "right"], 25)
    adata.obs["x_um"] = np.repeat([0.0, 6500.0], 25)
    adata.obs["y_um"] = np.repeat([0.0, 100.0], 25)
    record_coordinates(adata, "pixel", mpp=0.5)  # 400 px of 0.5 um: legacy ST
    return adata


def test_given_places():
    adata = two_placed()
    place_sections(adata)
    aligned = adata.obsm["spatial_aligned"]
    np.testing.assert_allclose(aligned[:25], adata.obsm["spatial"][:25] * 0.5)
    np.testing.assert_allclose(aligned[25:], adata.obsm["spatial"][25:] * 0.5 + [6500, 100])
    found = adata.uns["histoquilt"]["alignment"]["right"]
    assert found["method"] == "placed"
    assert found["shift"].tolist() == [6500, 100]


def test_places_must_be_given_for_all_and_be_one_number():
    adata = two_placed()
    adata.obs.loc[adata.obs["section"] == "right", "y_um"] = np.nan
    with pytest.raises(ValueError, match=r"without them: 'right'.*stitch_sections"):
        place_sections(adata)
    adata = two_placed()
    adata.obs.loc["spot3", "x_um"] = 5.0
    with pytest.raises(ValueError, match=r"Section 'left': obs\['x_um'\] is where the whole section lies.*found 2"):
        place_sections(adata)
    del adata.obs["x_um"]
    with pytest.raises(ValueError, match="without them: 'left', 'right'"):
        place_sections(adata)
