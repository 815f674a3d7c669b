"""Flat tables of CosMx and MERSCOPE: joined by the cell, in every form that they are handed out in."""

import numpy as np
import pandas as pd
import pytest

import histoquilt as hq


@pytest.fixture
def cells():
    """Return 40 cells with whole positions, in two fields of view, and the tables of CosMx."""
    adata = hq.datasets.toy_section(n_spots=40, n_genes=12, n_domains=2, seed=0)
    fov = np.repeat([1, 2], 20)
    cell = np.tile(np.arange(1, 21), 2)
    counts = pd.DataFrame(adata.X.toarray().astype(int), columns=adata.var_names)
    counts.insert(0, "cell_ID", cell)
    counts.insert(0, "fov", fov)
    xy = np.round(adata.obsm["spatial"] * 100, 2)
    metadata = pd.DataFrame({"fov": fov, "cell_ID": cell, "Area": 7})
    metadata["CenterX_local_px"], metadata["CenterY_local_px"] = xy[:, 0] % 1000, xy[:, 1] % 1000
    metadata["CenterX_global_px"], metadata["CenterY_global_px"] = xy[:, 0], xy[:, 1]
    return counts, metadata, xy


def write(folder, counts, metadata, ending=".csv"):
    folder.mkdir(parents=True)
    counts.to_csv(folder / f"S1_exprMat_file{ending}", index=False)
    metadata.to_csv(folder / f"S1_metadata_file{ending}", index=False)
    return folder


def with_cell(counts, metadata):
    counts.insert(2, "cell", [f"c_1_{f}_{c}" for f, c in zip(counts["fov"], counts["cell_ID"], strict=True)])
    return counts, metadata


def with_cell_id_beside(counts, metadata):
    metadata.insert(0, "cell_id", [f"c_1_{f}_{c}" for f, c in zip(metadata["fov"], metadata["cell_ID"], strict=True)])
    return counts, metadata


def in_another_order(counts, metadata):
    return counts, metadata.sample(frac=1, random_state=0)


def only_by_cell(counts, metadata):
    counts, metadata = with_cell(counts, metadata)
    metadata["cell"] = counts["cell"]
    return counts.drop(columns="cell_ID"), metadata


def with_background(counts, metadata):
    background = counts.iloc[[0]].assign(cell_ID=0)
    return pd.concat([background, counts]), metadata


FORMS = [lambda *tables: tables, with_cell, with_cell_id_beside, in_another_order, only_by_cell, with_background]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
@pytest.mark.parametrize("form", FORMS)
def test_cosmx_without_images(tmp_path, cells, form, ending):
    counts, metadata, xy = cells
    right = counts.drop(columns=["fov", "cell_ID"])
    counts, metadata = form(counts, metadata)
    rows = metadata.index  # of the counts, in the order of the metadata
    adata = hq.io.read_section(write(tmp_path / "run", counts, metadata, ending))
    assert list(adata.var_names) == list(right)
    np.testing.assert_array_equal(adata.X.toarray(), right.to_numpy()[rows])
    np.testing.assert_allclose(adata.obsm["spatial"], xy[rows])
    assert adata.uns["histoquilt"]["scale"] == {"X": "counts"}
    assert adata.uns["histoquilt"]["coordinates"]["unit"] == "pixel"


def test_cosmx_positions_from_the_fields(tmp_path, cells):
    counts, metadata, _ = cells
    metadata = metadata.drop(columns=["CenterX_global_px", "CenterY_global_px"])
    folder = write(tmp_path / "run", counts, metadata)
    with pytest.raises(FileNotFoundError, match=r"\*fov_positions_file.csv, .* is missing"):
        hq.io.read_section(folder)
    places = pd.DataFrame({"FOV": [2, 1], "x_global_px": [5000, 0], "y_global_px": [100, 0]})
    places.to_csv(folder / "S1_fov_positions_file.csv", index=False)
    adata = hq.io.read_section(folder)
    local = metadata[["CenterX_local_px", "CenterY_local_px"]].to_numpy()
    np.testing.assert_allclose(adata.obsm["spatial"][:20], local[:20])
    np.testing.assert_allclose(adata.obsm["spatial"][20:], local[20:] + np.array([5000, 100]))


def test_cells_that_share_no_name_are_refused(tmp_path, cells):
    counts, metadata, _ = cells
    with pytest.raises(ValueError, match=r"No cell of S1_exprMat_file\.csv .* is in S1_metadata_file\.csv"):
        hq.io.read_section(write(tmp_path / "run", counts, metadata.assign(fov=metadata["fov"] + 7)))


@pytest.mark.parametrize("prefix", ["", "HumanOvarianCancerPatient2Slice2_"])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_merscope_is_joined_by_cell(tmp_path, cells, prefix, ending):
    counts, _, xy = cells
    counts = counts.drop(columns=["fov", "cell_ID"])
    ids = [str(2 * 10**18 + 101 * i) for i in range(len(counts))]
    metadata = pd.DataFrame({"EntityID": ids, "fov": 1, "center_x": xy[:, 0], "center_y": xy[:, 1]})
    folder = tmp_path / "run" / "region_0"
    folder.mkdir(parents=True)
    counts.assign(**{"Blank-1": 3}).set_axis(ids).rename_axis("cell").to_csv(folder / f"{prefix}cell_by_gene{ending}")
    metadata.sample(frac=1, random_state=1).to_csv(folder / f"{prefix}cell_metadata{ending}", index=False)
    for path in (folder, folder.parent):  # the folder above is as good
        adata = hq.io.read_section(path)
        assert list(adata.obs_names) == ids
        np.testing.assert_array_equal(adata.X.toarray(), counts.to_numpy())
        np.testing.assert_allclose(adata.obsm["spatial"], xy)
        assert list(adata.obsm["controls"]) == ["Blank-1"]
    (tmp_path / "run" / "region_1").mkdir()
    for path in folder.iterdir():
        (tmp_path / "run" / "region_1" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"holds 2 sections: 'region_0', 'region_1'\. Give one"):
        hq.io.read_section(tmp_path / "run")
