"""Alignment of real sections: serial ones lie as they were mounted, upright; a cut one is whole again."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from histoquilt.align._transform import Similarity
from histoquilt.io import estimate_mpp, read_h5ad
from histoquilt.tl import align_sections, stitch_sections

pytestmark = pytest.mark.real_data
DLPFC = ["151673", "151674", "151675", "151676"]


def same_layer(first, second, key):
    """Share of spots that lie on a spot of the same annotated layer; only to judge, nothing reads it."""
    distance, nearest = cKDTree(first.obsm[key]).query(second.obsm[key])
    layers = first.obs["layer_guess"].to_numpy()[nearest], second.obs["layer_guess"].to_numpy()
    return np.mean((layers[0] == layers[1])[distance < 100])


@pytest.mark.parametrize("method", ["outline", "paste"])
def test_serial_sections_of_cortex(data_dir, method):
    if method == "paste":
        pytest.importorskip("ot")
    names = DLPFC if method == "outline" else DLPFC[:3]  # transport takes twice as long
    sections = {name: read_h5ad(data_dir / f"dlpfc/{name}.h5ad") for name in names}
    for section in sections.values():
        section.obsm["as_mounted"] = section.obsm["spatial"] * estimate_mpp(section)
    align_sections(sections, method=method, n_sample=600, progress=False)
    facts = sections["151673"].uns["histoquilt"]["alignment"]
    for name in names[1:]:
        assert abs(facts[name]["angle_deg"]) < 15
        assert not facts[name]["mirrored"]
        assert facts[name]["agreement"] > 0.9
        assert facts[name]["residual_um"] < 150
    first, second = sections["151673"], sections["151674"]
    assert same_layer(first, second, "spatial_aligned") > same_layer(first, second, "as_mounted") + 0.03


def test_a_turned_and_flipped_section_of_cortex_comes_back(data_dir):
    """Sections that fill a nearly square frame: the outline alone would leave eight ways."""
    first, second = (read_h5ad(data_dir / f"dlpfc/{name}.h5ad") for name in DLPFC[:2])
    upright = {"first": first.copy(), "second": second.copy()}
    align_sections(upright, progress=False)
    second.obsm["spatial"] = Similarity.turn(np.radians(115), mirrored=True)(second.obsm["spatial"])
    align_sections({"first": first, "second": second}, progress=False)
    apart = second.obsm["spatial_aligned"] - upright["second"].obsm["spatial_aligned"]
    assert np.linalg.norm(apart, axis=1).mean() < 100


@pytest.mark.parametrize("axis", [0, 1])
def test_a_cut_section_is_stitched(data_dir, axis):
    whole = read_h5ad(data_dir / "dlpfc/151673.h5ad")
    mpp = estimate_mpp(whole)
    along = whole.obsm["spatial"][:, axis]
    along = (along - along.min()) / np.ptp(along)
    first, second = whole[along < 0.6].copy(), whole[along > 0.4].copy()
    truth = second.obsm["spatial"] * mpp
    turn = Similarity.turn(np.radians(73), scale=1.7)
    second.obsm["spatial"] = turn(second.obsm["spatial"]) + np.array([300, 9000])
    stitch_sections({"first": first, "second": second}, progress=False)
    error = np.linalg.norm(second.obsm["spatial_aligned"] - truth, axis=1)
    assert error.mean() < 50  # half a pitch
    assert error.max() < 100


def test_the_far_ends_of_a_section_are_not_stitched(data_dir):
    whole = read_h5ad(data_dir / "dlpfc/151673.h5ad")
    x = whole.obsm["spatial"][:, 0]
    pieces = [whole[x < np.quantile(x, 0.45)].copy(), whole[x > np.quantile(x, 0.55)].copy()]
    with pytest.raises(ValueError, match="could not be stitched"):
        stitch_sections(pieces, progress=False)


@pytest.mark.parametrize("patient", ["B", "C", "G"])
def test_serial_sections_of_tumours_are_upright(data_dir, patient):
    """Published images of one patient show its sections the same way up."""
    names = [path.stem for path in sorted((data_dir / "her2st").glob(f"{patient}?.h5ad"))][:3]
    sections = {name: read_h5ad(data_dir / f"her2st/{name}.h5ad") for name in names}
    align_sections(sections, progress=False)
    for fact in sections[names[0]].uns["histoquilt"]["alignment"].values():
        assert abs(fact["angle_deg"]) < 30
        assert not fact["mirrored"]
