"""Visium HD folders: bins of every size, and segmented cells."""

import json
import shutil

import numpy as np
import pytest
from tests.io.bundles import HD_MPP, tissue, write_visium_hd

import histoquilt as hq
from histoquilt._base import at_a_command
from histoquilt.io._cell_polygons import stored_polygons

pytest.importorskip("pyarrow", reason="the extra 'spatial' is not installed")


@pytest.mark.parametrize("given", ["outs", "outs/segmented_outputs", "."])
def test_segmented_cells(section, tmp_path, given):
    rings = write_visium_hd(section, tmp_path / "hd" / "outs", bins=False)
    adata = hq.io.read_section(tmp_path / "hd" / given)
    assert adata.obs_names[0] == "cellid_000000007-1"
    np.testing.assert_array_equal(adata.X.toarray(), section.X.toarray())
    _, places = tissue(section, 8.0)
    assert np.linalg.norm(adata.obsm["spatial"] - places / HD_MPP, axis=1).max() < 3.5 / HD_MPP / 2
    assert adata.uns["histoquilt"]["coordinates"] == {"unit": "pixel", "mpp": HD_MPP}
    library = adata.uns["spatial"]["outs"]
    assert list(library["images"]) == ["hires", "lowres"]
    assert library["scalefactors"]["tissue_hires_scalef"] == 0.1
    outlines = stored_polygons(adata)
    for row, name in enumerate(adata.obs_names):
        np.testing.assert_array_equal(outlines.ring(row), rings[name])


def test_bins_or_cells_are_chosen(section, tmp_path):
    outs = tmp_path / "outs"
    write_visium_hd(section, outs)
    sizes = {None: 8, 2: 2, "8": 8, "016": 16, "16um": 16}
    for given, size in sizes.items():
        adata = hq.io.read_section(outs, bin_size=given)
        assert adata.obs_names[0].startswith(f"s_{size:03d}um_")
        assert adata.uns["histoquilt"]["coordinates"] == {"unit": "pixel", "mpp": HD_MPP, "pitch_um": float(size)}
    counts = [hq.io.read_section(outs, bin_size=size).X.sum() for size in (8, 16)]
    assert counts[0] == counts[1]
    assert hq.io.read_section(outs, bin_size="cells").obs_names[0] == "cellid_000000007-1"
    cells = hq.io.read_platform("visium_hd", outs, bin_size="cells", polygons=False)
    assert "cell_polygons" not in cells.obsm
    with pytest.raises(ValueError, match=r"bin_size= must be a size in microns \(2, 8, 16\) or 'cells', got 'large'"):
        hq.io.read_section(outs, bin_size="large")
    words = r"no square_004um \(found: 'square_002um', 'square_008um', 'square_016um', 'cells'\). Choose with bin_size="
    with pytest.raises(FileNotFoundError, match=words):
        hq.io.read_section(outs, bin_size=4)
    shutil.rmtree(outs / "binned_outputs")
    with at_a_command(), pytest.raises(FileNotFoundError, match=r"no binned_outputs.*read with --bin-size cells"):
        hq.io.read_section(outs, bin_size=8)


def test_what_is_missing_of_cells(section, tmp_path):
    folder = tmp_path / "outs" / "segmented_outputs"
    write_visium_hd(section, tmp_path / "outs")
    (folder / "cell_segmentations.geojson").rename(folder / "graphclust_annotated_cell_segmentations.geojson")
    assert hq.io.read_section(folder).n_obs == section.n_obs
    (folder / "graphclust_annotated_cell_segmentations.geojson").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"segmented cells by Space Ranger 4: 'cell_segmentations.geojson' missing"
    ):
        hq.io.read_section(tmp_path / "outs", bin_size="cells")
    (folder / "filtered_feature_cell_matrix.h5").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"'filtered_feature_cell_matrix', 'cell_segmentations.geojson' missing"
    ):
        hq.io.read_section(tmp_path / "outs", bin_size="cells")
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=r"is not a complete output of segmented cells"):
        hq.io.read_section(tmp_path / "outs", bin_size="cells")


def rewrite(path, change):
    document = json.loads(path.read_text())
    change(document["features"])
    path.write_text(json.dumps(document, indent=1))


def test_outlines_of_other_cells_pieces_and_holes(section, tmp_path):
    outs = tmp_path / "outs"
    rings = write_visium_hd(section, outs, bins=False)
    path = outs / "segmented_outputs" / "cell_segmentations.geojson"
    names = list(reversed(rings))

    def change(features):
        hole = [[0, 0], [1, 0], [1, 1], [0, 0]]
        ring = features[0]["geometry"]["coordinates"][0]
        features[0]["geometry"] = {"type": "MultiPolygon", "coordinates": [[hole], [ring, hole]]}
        del features[1]

    rewrite(path, change)
    adata = hq.io.read_section(outs)
    assert sorted(set(rings) - set(adata.obs_names)) == [names[1]]
    np.testing.assert_array_equal(stored_polygons(adata).ring(adata.n_obs - 1), rings[names[0]])
    rewrite(path, lambda features: features.append(features[0]))
    with pytest.raises(ValueError, match=r"lists cells more than once: 'cellid_0"):
        hq.io.read_section(outs)
    rewrite(path, lambda features: [one["properties"].update(cell_id=10**6 + i) for i, one in enumerate(features)])
    with pytest.raises(ValueError, match=r"No cell of filtered_feature_cell_matrix.h5 .*has an outline in cell_segm"):
        hq.io.read_section(outs)
    rewrite(path, lambda features: [one["properties"].clear() for one in features])
    with pytest.raises(ValueError, match=r"could not be read as outlines of cells .*KeyError: 'cell_id'"):
        hq.io.read_section(outs)


def test_a_truncated_geojson(section, tmp_path, truncated):
    write_visium_hd(section, tmp_path / "outs", bins=False)
    truncated(tmp_path / "outs" / "segmented_outputs" / "cell_segmentations.geojson")
    with pytest.raises(ValueError, match=r"could not be read as outlines of cells .*truncated\?"):
        hq.io.read_section(tmp_path / "outs")
