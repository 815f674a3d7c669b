"""Sections joined, taken apart, and named."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix, issparse

import histoquilt as hq
from histoquilt.study._layers import named_layers


@pytest.fixture
def sections(written_section) -> dict[str, AnnData]:
    """Two sections with the same barcodes, genes in another order, one gene and one column more in the second."""
    a, b = written_section(name="lib", n_side=6), written_section(name="lib", n_side=5)
    b = b[:, ::-1].copy()
    b.uns["histoquilt"]["coordinates"] = {"unit": "pixel", "mpp": 0.5}
    extra = AnnData(np.full((b.n_obs, 1), 7, np.float32), var=pd.DataFrame({"gene_symbol": "NEW"}, index=["ENSGNEW"]))
    extra.obs_names = b.obs_names
    wide = AnnData(
        csr_matrix(np.hstack([b.X.toarray(), extra.X])),
        obs=b.obs.assign(age=12),
        var=pd.concat([b.var, extra.var]),
        obsm={"spatial": b.obsm["spatial"], "X_umap": b.obsm["X_umap"], "X_pca": np.ones((b.n_obs, 3))},
        uns=b.uns,
    )
    a.obsm["X_pca"] = np.ones((a.n_obs, 4))
    a.X = a.X.toarray()
    a.obs_names = ["own" if i == 5 else name for i, name in enumerate(a.obs_names)]
    for number, one in enumerate((a, wide)):
        one.obs["z_um"] = 10.0 * number
    a.uns["histoquilt"]["source"] = "a.h5ad"
    return {"first": a, "second": wide}


def test_shared_genes_line_up(sections):
    joint = hq.io.concat_sections(sections)
    a, b = sections.values()
    assert joint.var_names.tolist() == a.var_names.tolist()
    assert joint.var["gene_symbol"].tolist() == a.var["gene_symbol"].tolist()
    assert issparse(joint.X)
    assert joint.X.format == "csr"
    assert np.array_equal(joint.X.toarray(), np.vstack([a.X, b[:, a.var_names].X.toarray()]))
    assert joint.uns["histoquilt"]["scale"]["X"] == "counts"


def test_names_change_only_where_they_collide_and_are_kept(sections):
    joint = hq.io.concat_sections(sections)
    assert joint.obs_names.is_unique
    assert joint.obs_names[0] == "spot0-1-first"
    assert joint.obs_names[5] == "own"
    assert joint.obs["obs_name"].tolist() == [*sections["first"].obs_names, *sections["second"].obs_names]
    assert joint.obs["section"].cat.categories.tolist() == ["first", "second"]
    assert joint.obs["z_um"].unique().tolist() == [0, 10]
    assert joint.obs.loc[joint.obs["section"] == "first", "age"].isna().all()


def test_names_that_look_like_others_with_their_section():
    a, b, c = (AnnData(np.ones((2, 2), np.float32), obsm={"spatial": np.eye(2)}) for _ in range(3))
    a.obs_names, b.obs_names, c.obs_names = ["s", "t"], ["s", "u"], ["s-a", "v"]
    joint = hq.io.concat_sections({"a": a, "b": b, "c": c})
    assert joint.obs_names.is_unique
    assert joint.obs["obs_name"].tolist() == ["s", "t", "s", "u", "s-a", "v"]


def test_images_and_units_of_every_section(sections):
    joint = hq.io.concat_sections(sections)
    assert list(joint.uns["spatial"]) == ["first", "second"]
    for name, adata in sections.items():
        assert joint.uns["spatial"][name] is adata.uns["spatial"]["lib"]  # images are large: shared, not copied
    known = joint.uns["histoquilt"]["sections"]
    assert known["first"]["coordinates"]["mpp"] == 2
    assert known["first"]["source"] == "a.h5ad"
    assert known["second"]["coordinates"] == {"unit": "pixel", "mpp": 0.5}
    assert joint.uns["histoquilt"]["coordinates"] == {"unit": "pixel"}  # on mpp they do not agree


def test_matrices_in_obsm(sections):
    joint = hq.io.concat_sections(sections)
    assert joint.obsm["spatial"].shape == (61, 2)
    assert joint.obsm["X_umap"].shape == (61, 2)
    assert "X_pca" not in joint.obsm  # 4 and 3 wide
    assert "denoised" not in joint.obsm  # in one only
    assert hq.io.concat_sections({"a": sections["first"], "b": sections["first"]}).obsm["denoised"].shape == (72, 6)


def test_nothing_of_the_sections_is_changed(sections):
    before = {name: adata.copy() for name, adata in sections.items()}
    joint = hq.io.concat_sections(sections)
    joint.uns["histoquilt"]["sections"]["first"]["coordinates"]["mpp"] = 99
    joint.obsm["spatial"][:] = 0
    for name, adata in sections.items():
        pd.testing.assert_frame_equal(adata.obs, before[name].obs)
        assert adata.uns["histoquilt"]["coordinates"] == before[name].uns["histoquilt"]["coordinates"]
        assert np.array_equal(adata.obsm["spatial"], before[name].obsm["spatial"])


def test_taken_apart_they_are_what_they_were(sections, tmp_path):
    hq.io.write_h5ad(hq.io.concat_sections(sections), tmp_path / "joint.h5ad")
    joint = hq.io.read_h5ad(tmp_path / "joint.h5ad")
    joint.obsp["near"] = csr_matrix(np.ones((61, 61), np.float32))
    joint.uns["histoquilt"]["integration"] = {"seed": 1}
    parts = hq.io.split_sections(joint)
    assert list(parts) == ["first", "second"]
    for name, part in parts.items():
        adata = sections[name]
        assert part.obs_names.tolist() == adata.obs_names.tolist()
        expected = adata[:, part.var_names].X
        assert np.array_equal(part.X.toarray(), expected.toarray() if issparse(expected) else expected)
        assert np.array_equal(part.obsm["spatial"], adata.obsm["spatial"])
        assert set(part.obs) == set(adata.obs)
        assert part.obs["domain"].astype(str).tolist() == adata.obs["domain"].astype(str).tolist()
        assert list(part.uns["spatial"]) == ["lib"]
        pixels = part.uns["spatial"]["lib"]["images"]["lowres"]
        assert np.array_equal(pixels, adata.uns["spatial"]["lib"]["images"]["lowres"])
        assert part.uns["histoquilt"]["coordinates"] == adata.uns["histoquilt"]["coordinates"]
        assert part.uns["histoquilt"]["integration"] == {"seed": 1}
        assert "sections" not in part.uns["histoquilt"]
        assert part.obsp["near"].shape == (part.n_obs, part.n_obs)
    parts["first"].uns["histoquilt"]["integration"]["seed"] = 2
    assert joint.uns["histoquilt"]["integration"]["seed"] == 1
    assert "sections" in joint.uns["histoquilt"]


def test_sections_that_were_not_joined_here():
    joint = hq.datasets.toy_section(n_spots=120, n_genes=20, n_domains=2, n_sections=2, seed=0)
    order = np.random.default_rng(0).permutation(joint.n_obs)
    parts = hq.io.split_sections(joint[order].copy())
    assert list(parts) == ["s1", "s2"]
    assert parts["s2"].obs_names.tolist() == [name for name in joint.obs_names[order] if name.startswith("s2_")]
    assert parts["s2"].uns["histoquilt"]["coordinates"]["pitch_um"] == 100
    again = hq.io.concat_sections(parts)
    assert set(again.obs_names) == set(joint.obs_names)
    assert (again[joint.obs_names].X != joint.X).nnz == 0


def test_several_libraries_in_one_section(written_section):
    a, b = written_section(name="x"), written_section(name="x", n_side=4)
    a.uns["spatial"]["y"] = a.uns["spatial"]["x"]
    joint = hq.io.concat_sections({"a": a, "b": b})
    assert list(joint.uns["spatial"]) == ["a-x", "a-y", "b"]
    assert [list(part.uns["spatial"]) for part in hq.io.split_sections(joint).values()] == [["x", "y"], ["x"]]


def test_counts_against_log_values(sections):
    a, b = sections.values()
    logged = b.copy()
    logged.X = b.X.log1p()
    logged.uns["histoquilt"] = {"scale": {"X": "log1p_cp10k"}}
    with pytest.raises(ValueError, match=r"X is on different scales \(counts: 'a'; log1p_cp10k: 'b'\)"):
        hq.io.concat_sections({"a": a, "b": logged})
    del logged.uns["histoquilt"]["scale"]
    with pytest.raises(ValueError, match=r"counts: 'a'; undeclared and no raw counts: 'b'"):
        hq.io.concat_sections({"a": a, "b": logged})


def test_undeclared_counts_go_with_declared_ones(sections):
    a, b = sections.values()
    del b.uns["histoquilt"]["scale"]
    assert hq.io.concat_sections({"a": a, "b": b}).uns["histoquilt"]["scale"]["X"] == "counts"
    del a.uns["histoquilt"]["scale"]
    assert "scale" not in hq.io.concat_sections({"a": a, "b": b}).uns["histoquilt"]


def test_layers_that_all_sections_have(sections):
    for adata in sections.values():
        adata.layers["counts"] = csr_matrix(adata.X)
        adata.X = csr_matrix(adata.X).log1p()
        adata.uns["histoquilt"]["scale"] = {"counts": "counts"}
    sections["first"].layers["other"] = sections["first"].X
    joint = hq.io.concat_sections(sections)
    assert list(named_layers(joint)) == ["counts"]
    assert joint.uns["histoquilt"]["scale"] == {"counts": "counts"}
    assert np.allclose(joint.layers["counts"].log1p().toarray(), joint.X.toarray())


def test_sections_with_embeddings_only():
    a, b = (AnnData(obs=pd.DataFrame(index=["x", "y"]), obsm={"spatial": np.eye(2), "X_pca": np.eye(2)}) for _ in "ab")
    joint = hq.io.concat_sections({"a": a, "b": b})
    assert joint.shape == (4, 0)
    assert joint.obsm["X_pca"].shape == (4, 2)


def test_a_third_coordinate_of_some_sections_is_left_out(sections):
    adata = sections["second"]
    adata.obsm["spatial"] = np.column_stack([adata.obsm["spatial"], np.zeros(adata.n_obs)])
    assert hq.io.concat_sections(sections).obsm["spatial"].shape == (61, 2)


def test_spot_centres_under_another_key(sections):
    for one in sections.values():
        one.obsm["places"] = one.obsm.pop("spatial")
    sections["second"].obsm["places"] = np.c_[sections["second"].obsm["places"], np.zeros(sections["second"].n_obs)]
    joint = hq.io.concat_sections(sections, spatial_key="places")
    assert joint.obsm["places"].shape == (joint.n_obs, 2)
    with pytest.raises(KeyError, match=r"'spatial' is not in adata\.obsm .*'places'"):
        hq.io.concat_sections(sections)


def test_splitting_needs_a_section_for_every_spot(sections):
    joint = hq.io.concat_sections(sections)
    with pytest.raises(KeyError, match=r"'slice' is not in adata.obs"):
        hq.io.split_sections(joint, "slice")
    joint.obs["section"] = joint.obs["section"].where(joint.obs["z_um"] > 0)
    with pytest.raises(ValueError, match="36 of 61 spots have no section"):
        hq.io.split_sections(joint)


@pytest.mark.real_data
def test_four_real_sections(data_dir):
    names = ["151673", "151674", "151675", "151676"]
    sections = {name: hq.io.read_section(data_dir / "dlpfc" / f"{name}.h5ad") for name in names}
    joint = hq.io.concat_sections(sections)
    assert joint.shape == (14364, 3837)
    assert joint.obs["layer_guess"].notna().sum() == 3639 - 28 + sections["151674"].obs["layer_guess"].notna().sum()
    for name, part in hq.io.split_sections(joint).items():
        assert part.obs_names.equals(sections[name].obs_names)
        assert (part.X != sections[name][:, part.var_names].X).nnz == 0
        assert part.uns["spatial"].keys() == sections[name].uns["spatial"].keys()
