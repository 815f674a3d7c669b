"""Serial sections with known turns, shifts and flips come back; wrong input is told in words."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.spatial import cKDTree

from histoquilt.align import _paste as paste
from histoquilt.align._expression import Agreement
from histoquilt.align._outline import find_outline, fit_outlines
from histoquilt.align._transform import Similarity, procrustes
from histoquilt.datasets import toy_section
from histoquilt.io import record_coordinates, write_h5ad
from histoquilt.tl import align_sections

PITCH = 100.0


def moved_stack(n_spots=500, n_sections=2, angle=137.0, *, mirrored=False, shift=(5000.0, -300.0), seed=0):
    """Serial toy sections; all but the first are turned about the origin, perhaps flipped, and shifted."""
    adata = toy_section(n_spots=n_spots, n_genes=200, n_domains=5, n_sections=n_sections, seed=seed)
    truth = adata.obsm["spatial"].copy()
    others = (adata.obs["section"] != "s1").to_numpy()
    turn = Similarity.turn(np.radians(angle), mirrored=mirrored)
    adata.obsm["spatial"][others] = turn(truth[others]) + shift
    return adata, truth


def error_in_pitches(adata, truth):
    return np.linalg.norm(adata.obsm["spatial_aligned"] - truth, axis=1).mean() / PITCH


@pytest.mark.parametrize("method", ["outline", "paste"])
@pytest.mark.parametrize(
    ("n_spots", "angle", "mirrored", "seed"), [(500, 137, False, 0), (800, 157, True, 1), (600, -20, True, 2)]
)
def test_a_known_move_is_undone(method, n_spots, angle, mirrored, seed):
    if method == "paste":
        pytest.importorskip("ot")
    adata, truth = moved_stack(n_spots, angle=angle, mirrored=mirrored, seed=seed)
    align_sections(adata, method=method, n_sample=400, progress=False)
    assert error_in_pitches(adata, truth) < 0.5
    found = adata.uns["histoquilt"]["alignment"]["s2"]
    # a flip undoes itself, so a flipped section is turned by the same angle again
    wanted = angle if mirrored else -angle
    assert abs((found["angle_deg"] - wanted + 180) % 360 - 180) < 2
    assert found["mirrored"] is mirrored
    assert found["residual_um"] < 1.5 * PITCH
    assert found["agreement"] > 0.5
    second = (adata.obs["section"] == "s2").to_numpy()
    by_hand = adata.obsm["spatial"][second] @ found["matrix"].T + found["shift"]
    np.testing.assert_allclose(adata.obsm["spatial_aligned"][second], by_hand)


def test_a_stack_is_chained_from_its_reference():
    adata, truth = moved_stack(400, n_sections=4, angle=60)
    align_sections(adata, reference="s3", progress=False)
    facts = adata.uns["histoquilt"]["alignment"]
    assert [facts[name]["neighbor"] for name in ("s1", "s2", "s3", "s4")] == ["s2", "s3", "s3", "s3"]
    third = (adata.obs["section"] == "s3").to_numpy()
    np.testing.assert_array_equal(adata.obsm["spatial_aligned"][third], adata.obsm["spatial"][third])
    # whatever the frame, spots of all sections lie to each other as they did in the tissue
    frame = procrustes(adata.obsm["spatial_aligned"], truth)
    assert np.linalg.norm(frame(adata.obsm["spatial_aligned"]) - truth, axis=1).mean() < 0.5 * PITCH


def test_depth_orders_the_stack_whatever_the_names_say():
    adata, _ = moved_stack(300, n_sections=3)
    adata.obs["z_um"] = adata.obs["section"].map({"s1": 0.0, "s2": 300.0, "s3": 10.0}).astype(float)
    align_sections(adata, progress=False)
    facts = adata.uns["histoquilt"]["alignment"]
    assert facts["s3"]["neighbor"] == "s1"
    assert facts["s2"]["neighbor"] == "s3"


def test_list_and_dict_give_what_one_anndata_gives(tmp_path):
    adata, _ = moved_stack(300)
    first, second = (adata[(adata.obs["section"] == name).to_numpy()].copy() for name in ("s1", "s2"))
    named = {"s1": first.copy(), "s2": second.copy()}
    align_sections(adata, progress=False)
    align_sections([first, second], progress=False)
    align_sections(named, progress=False)
    both = np.concatenate([first.obsm["spatial_aligned"], second.obsm["spatial_aligned"]])
    np.testing.assert_array_equal(both, adata.obsm["spatial_aligned"])
    np.testing.assert_array_equal(named["s2"].obsm["spatial_aligned"], second.obsm["spatial_aligned"])
    write_h5ad(named["s2"], tmp_path / "s2.h5ad")  # what was recorded can be stored


def test_pixels_become_microns_and_the_input_stays():
    adata, truth = moved_stack(400)
    adata.obsm["spatial"] *= 4.0  # 0.25 um a pixel
    before = adata.obsm["spatial"].copy()
    record_coordinates(adata, "pixel")
    align_sections(adata, progress=False)
    assert error_in_pitches(adata, truth) < 0.5
    np.testing.assert_array_equal(adata.obsm["spatial"], before)


@pytest.mark.filterwarnings("ignore:The outline")
def test_rows_may_be_shuffled():
    adata, _ = moved_stack(300)
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    align_sections(adata, refine=False, progress=False)
    align_sections(shuffled, refine=False, progress=False)
    again = shuffled[adata.obs_names].obsm["spatial_aligned"]
    np.testing.assert_allclose(again, adata.obsm["spatial_aligned"], atol=1e-3)


def test_same_seed_same_result():
    one, _ = moved_stack(300)
    two = one.copy()
    for adata in (one, two):
        align_sections(adata, seed=3, progress=False)
    np.testing.assert_array_equal(one.obsm["spatial_aligned"], two.obsm["spatial_aligned"])


def test_torn_and_holed_tissue():
    adata, truth = moved_stack(900, angle=40)
    middle = np.median(truth, axis=0)
    second = (adata.obs["section"] == "s2").to_numpy()
    hole = np.linalg.norm(truth - middle - [500, 300], axis=1) < 350
    missing = truth[:, 0] > np.quantile(truth[:, 0], 0.93)
    kept = ~(second & (hole | missing))
    torn, truth = adata[kept].copy(), truth[kept]
    align_sections(torn, progress=False)
    assert error_in_pitches(torn, truth) < 0.5


# the outline itself


def lattice(n_columns, n_rows):
    rows, columns = np.divmod(np.arange(n_columns * n_rows), n_columns)
    return np.column_stack([columns + 0.5 * (rows % 2), rows * np.sqrt(3) / 2]) * PITCH


def test_an_outline_has_no_holes_and_keeps_its_distance():
    spots = lattice(20, 20)
    middle = spots.mean(axis=0)
    holed = spots[np.linalg.norm(spots - middle, axis=1) > 400]
    crumb = np.array([[5000.0, 5000.0]])
    whole, damaged = find_outline(spots, PITCH), find_outline(np.concatenate([holed, crumb]), PITCH)
    assert np.allclose(cKDTree(spots).query(whole.points)[0], 1.5 * PITCH, atol=0.2 * PITCH)
    assert cKDTree(whole.points).query(damaged.points)[0].max() < 0.6 * PITCH


def test_pieces_of_an_outline_count_where_they_are_large():
    apart = np.concatenate([lattice(20, 20), lattice(10, 20) + np.array([4000, 0])])
    points = find_outline(apart, PITCH).points
    assert (points[:, 0] > 3500).any()
    assert not ((points[:, 0] > 2400) & (points[:, 0] < 3500)).any()


def test_a_triangle_fits_in_one_way_only_without_flips():
    spots = lattice(30, 30)
    spots = spots[(spots[:, 1] < 0.6 * spots[:, 0]) & (spots[:, 0] + spots[:, 1] < 2900)]
    turn = Similarity.turn(np.radians(100))
    fits = fit_outlines(
        find_outline(turn(spots), PITCH), find_outline(spots, PITCH), n_angles=12, mirror=False, pitch=PITCH
    )
    assert np.linalg.norm(fits[0].move(turn(spots)) - spots, axis=1).mean() < 0.25 * PITCH
    assert fits[1].residual > 2 * fits[0].residual


def test_expression_decides_where_the_outline_cannot():
    """A square fits its frame in eight ways; only one of them puts the stripes and the corner where they were."""
    adata = square_pair(turn=90)
    align_sections(adata, progress=False)
    assert adata.uns["histoquilt"]["alignment"]["b"]["angle_deg"] == pytest.approx(-90, abs=2)
    assert not adata.uns["histoquilt"]["alignment"]["b"]["mirrored"]


def test_a_symmetric_outline_without_expression_is_warned_about():
    adata = square_pair(turn=90)
    with pytest.warns(UserWarning, match=r"outline of section 'b' is nearly symmetric: turned by .*refine=True"):
        align_sections(adata, refine=False, progress=False)
    bare = AnnData(obs=adata.obs, obsm={"spatial": adata.obsm["spatial"]}, uns=adata.uns)
    with pytest.warns(UserWarning, match="nearly symmetric"):
        align_sections(bare, progress=False)


def square_pair(turn):
    rng = np.random.default_rng(0)
    spots = np.stack(np.meshgrid(np.arange(24), np.arange(24)), axis=-1).reshape(-1, 2) * PITCH
    rate = 2 + np.outer(spots[:, 0] / 400, rng.random(60)) + np.outer(spots.prod(axis=1) / 4e5, rng.random(60) > 0.5)
    adata = AnnData(np.concatenate([rng.poisson(rate), rng.poisson(rate)]).astype(np.float32))
    adata.obs_names = [f"spot{i}" for i in range(adata.n_obs)]
    adata.obs["section"] = pd.Categorical(np.repeat(["a", "b"], len(spots)))
    adata.obsm["spatial"] = np.concatenate([spots, Similarity.turn(np.radians(turn))(spots)]).astype(float)
    record_coordinates(adata, "micron")
    return adata


def test_agreement_by_hand():
    spots = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).reshape(-1, 2) * PITCH
    rising = spots[:, :1] / PITCH
    compare = Agreement((spots, rising), (spots, rising), pitch=PITCH)
    assert compare(Similarity.identity()) > 0.99
    half_turn = Similarity(-np.eye(2), np.array([900.0, 900.0]))
    assert compare(half_turn) < -0.99
    away = Similarity(np.eye(2), np.array([5000.0, 0.0]))
    assert compare(away) == -1
    half_off = Similarity(np.eye(2), np.array([0.0, 500.0]))  # agrees as well, on half of the spots
    assert compare(half_off) > 0.99
    assert compare.score(half_off) < 0.65


# memory


def test_transport_makes_no_large_array(monkeypatch):
    ot = pytest.importorskip("ot")
    sizes = []
    solve = ot.gromov.fused_gromov_wasserstein

    def spy(expression, one, other, *args, **kwargs):
        sizes.extend([expression.shape, one.shape, other.shape])
        return solve(expression, one, other, *args, **kwargs)

    monkeypatch.setattr(ot.gromov, "fused_gromov_wasserstein", spy)
    adata, _ = moved_stack(900)
    align_sections(adata, method="paste", n_sample=150, progress=False)
    assert sizes == [(150, 150)] * 3
    assert paste.MOST_SAMPLED <= 5000


@pytest.mark.parametrize("n_sample", [5, 2001])
def test_the_sample_is_bounded(n_sample):
    adata, _ = moved_stack(300)
    with pytest.raises(ValueError, match=r"n_sample must be between 10 and 2,000.*dense arrays"):
        align_sections(adata, method="paste", n_sample=n_sample, progress=False)


# wrong input


def no_section(adata):
    del adata.obs["section"]


def one_section(adata):
    adata.obs["section"] = "only"


def spot_without_section(adata):
    adata.obs.loc[adata.obs_names[:2], "section"] = np.nan


def depth_for_one_only(adata):
    adata.obs.loc[adata.obs["section"] == "s2", "z_um"] = np.nan


def depth_differs_inside(adata):
    adata.obs.loc[adata.obs_names[0], "z_um"] = 7.0


def same_depth(adata):
    adata.obs["z_um"] = 0.0


def array_units(adata):
    record_coordinates(adata, "array")


def no_lattice(adata):
    adata.obsm["spatial"] = np.random.default_rng(0).uniform(0, 1e4, adata.obsm["spatial"].shape)
    record_coordinates(adata, "pixel")


def mixed_units(adata):
    adata.uns["histoquilt"]["sections"] = {
        "s1": {"coordinates": {"unit": "pixel"}},
        "s2": {"coordinates": {"unit": "micron"}},
    }


def two_spots(adata):
    adata.obs["section"] = np.where(np.arange(adata.n_obs) < 2, "tiny", "rest")


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (no_section, KeyError, r"'section' is not in adata\.obs.*Pass section_key="),
        (one_section, ValueError, "At least two sections are needed, got 1"),
        (spot_without_section, ValueError, "2 of 600 spots have no section"),
        (depth_for_one_only, ValueError, "z_um is given for 1 of 2 sections, and missing for 's2'"),
        (depth_differs_inside, ValueError, r"Section 's1': obs\['z_um'\].* must be one number; found 2 from 0 to 7"),
        (same_depth, ValueError, "'s1', 's2' lie at the same z_um.*place_sections or stitch_sections"),
        (array_units, ValueError, "Cannot determine microns per pixel for section 's1'.*array units"),
        (no_lattice, ValueError, "Cannot determine microns per pixel for section 's1'.*no square or hexagonal lattice"),
        (mixed_units, ValueError, "coordinates are in different units .pixel: 's1'; micron: 's2'"),
        (two_spots, ValueError, "Section 'tiny' has 2 spots; at least 3"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_refused(spoil, error, words):
    adata, _ = moved_stack(300)
    spoil(adata)
    if spoil is two_spots:
        del adata.obs["z_um"]
    with pytest.raises(error, match=f"(?s){words}"):
        align_sections(adata, progress=False)
    assert "spatial_aligned" not in adata.obsm


def test_options_are_checked():
    adata, _ = moved_stack(300)
    with pytest.raises(ValueError, match="Unknown method 'icp'; known are outline, paste"):
        align_sections(adata, method="icp")
    with pytest.raises(ValueError, match=r"reference='s9' is not a section \(found: 's1', 's2'\)"):
        align_sections(adata, reference="s9")
    with pytest.raises(ValueError, match="n_angles must be positive"):
        align_sections(adata, n_angles=0)
    with pytest.raises(KeyError, match=r"'X_own' is not in adata\.obsm.*Pass use_rep="):
        align_sections(adata, use_rep="X_own")
    with pytest.raises(TypeError, match=r"Expected an AnnData, a list or a dict of them.*got int"):
        align_sections(3)
    with pytest.raises(FileNotFoundError, match=r"a\.h5ad"):
        align_sections(["a.h5ad", "b.h5ad"])


def test_names_of_listed_sections():
    adata, _ = moved_stack(300)
    first = adata[(adata.obs["section"] == "s1").to_numpy()].copy()
    with pytest.raises(ValueError, match=r"Two sections of the list are both named 's1'\. Pass a dict"):
        align_sections([first, first.copy()])
    with pytest.raises(ValueError, match="of one section of the list holds 2 names"):
        align_sections([first, adata])


@pytest.mark.filterwarnings("ignore:The outline")
def test_sections_without_shared_genes():
    adata, _ = moved_stack(300)
    first, second = (adata[(adata.obs["section"] == name).to_numpy()].copy() for name in ("s1", "s2"))
    second.var_names = [f"other{i}" for i in range(second.n_vars)]
    with pytest.raises(ValueError, match=r"Sections 's1', 's2' share 0 genes, too few.*annotate_genes"):
        align_sections([first, second], progress=False)
    align_sections([first, second], refine=False, progress=False)  # outlines need none


@pytest.mark.filterwarnings("ignore:The outline")
def test_a_poor_fit_is_warned_about():
    adata, _ = moved_stack(300)
    second = (adata.obs["section"] == "s2").to_numpy()
    adata.obsm["spatial"][second] = lattice(150, 2)  # a ribbon
    with pytest.warns(UserWarning, match=r"'s2' fits 's1' poorly: their outlines are \d+ um apart on average, more"):
        align_sections(adata, refine=False, progress=False)


@pytest.mark.filterwarnings("ignore:.*their outlines are")
def test_different_tissue_is_warned_about():
    adata, _ = moved_stack(300)
    rng = np.random.default_rng(0)
    second = np.flatnonzero(adata.obs["section"] == "s2")
    values = adata.X.toarray()
    values[second] = values[rng.permutation(second)]  # expression no longer belongs to its place
    adata.X = values
    with pytest.warns(UserWarning, match=r"'s2' fits 's1' poorly: expression .* correlates by only"):
        align_sections(adata, progress=False)


def test_paste_without_pot(monkeypatch):
    adata, _ = moved_stack(300)

    def absent(module):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr("histoquilt._base._optional.import_module", absent)
    with pytest.raises(ImportError, match=r"Alignment by PASTE needs ot.*histoquilt\[align\]"):
        align_sections(adata, method="paste", progress=False)
