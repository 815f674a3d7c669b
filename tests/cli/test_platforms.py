"""Folders and files of other platforms on the command line."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from histoquilt.cli import run

BARE = ["--levels", "none", "--stability", "none"]  # neither is looked at


@pytest.mark.parametrize(
    "names", [["NegPrb1", "SystemControl1"], ["Blank-1", "BLANK_0002"], ["ERCC-00002", "antisense_TP53"]]
)
def test_controls_are_not_modelled(section, names, quick, tmp_path, capsys):
    genes = list(section.var_names)
    section.var_names = [names[0], "ERCC1", *genes[2:-1], names[1]]
    section.write_h5ad(tmp_path / "toy.h5ad")
    (tmp_path / "samples.csv").write_text("section,counts\none,toy.h5ad\n")
    for source in ("toy.h5ad", "samples.csv"):
        out = tmp_path / f"results of {source}"
        arguments = ["domains", tmp_path / source, "-k", 3, "-o", out, "--config", quick, *BARE]
        assert run(list(map(str, arguments))) == 0
        assert f"2 controls are not genes and are kept in obsm['controls']: '{names[0]}'" in capsys.readouterr().err
        written = ad.read_h5ad(next(out.glob("*.h5ad")))
        assert list(written.var_names) == ["ERCC1", *genes[2:-1]]
        assert not set(names) & set(written.uns["domain_markers"]["gene"])
        assert not set(names) & set(written.obsm["denoised"].columns)
        np.testing.assert_array_equal(written.obsm["controls"], section.X[:, [0, -1]].toarray())


def write_cosmx(section, folder):
    """Flat files of AtoMx: packed, with two names of each cell, in another order, without images."""
    folder.mkdir()
    fov = np.where(section.obsm["spatial"][:, 0] > np.median(section.obsm["spatial"][:, 0]), 2, 1)
    number = pd.Series(fov).groupby(fov).cumcount().to_numpy() + 1
    ids = pd.DataFrame({"fov": fov, "cell_ID": number})
    ids["cell"] = "c_1_" + ids["fov"].astype(str) + "_" + ids["cell_ID"].astype(str)
    genes = pd.DataFrame(section.X.toarray().astype(int), columns=section.var_names)
    pd.concat([ids, genes], axis=1).to_csv(folder / "S1_exprMat_file.csv.gz", index=False)
    cells = ids.rename(columns={"cell": "cell_id"})
    cells[["CenterX_global_px", "CenterY_global_px"]] = section.obsm["spatial"] * 1000
    cells.sample(frac=1, random_state=0).to_csv(folder / "S1_metadata_file.csv.gz", index=False)
    return pd.Index(number.astype(str)) + "_" + fov.astype(str)


def write_merscope(section, folder):
    """The tables of Vizgen's data release: a name before them, in another order, without images."""
    folder.mkdir()
    names = [str(10**18 + 7 * i) for i in range(section.n_obs)]
    genes = pd.DataFrame(section.X.toarray().astype(int), columns=section.var_names, index=names)
    genes.assign(**{"Blank-1": 0}).to_csv(folder / "Patient2_cell_by_gene.csv")
    cells = pd.DataFrame(section.obsm["spatial"] * 1000, columns=["center_x", "center_y"], index=names)
    cells.sample(frac=1, random_state=0).to_csv(folder / "Patient2_cell_metadata.csv")
    return pd.Index(names)


@pytest.mark.parametrize("write", [write_cosmx, write_merscope])
def test_tables_of_cells_without_images(section, write, quick, tmp_path):
    names = write(section, tmp_path / "run")
    (tmp_path / "samples.csv").write_text("section,counts\none,run\n")
    for source in ("run", "samples.csv"):
        out = tmp_path / f"results of {source}"
        arguments = ["domains", tmp_path / source, "-k", 3, "-o", out, "--config", quick, "--denoise", "none", *BARE]
        assert run(list(map(str, arguments))) == 0
        written = ad.read_h5ad(next(out.glob("*.h5ad")))
        rows = names.get_indexer(written.obs_names)
        assert sorted(rows) == list(range(section.n_obs))
        np.testing.assert_allclose(written.obsm["spatial"], section.obsm["spatial"][rows] * 1000)
        np.testing.assert_array_equal(written.X.toarray(), section.X.toarray()[rows])


def test_the_folder_above_regions(section, refused, tmp_path):
    for name in ("region_0", "region_1"):
        (tmp_path / "run").mkdir(exist_ok=True)
        write_merscope(section, tmp_path / "run" / name)
    line = refused("domains", tmp_path / "run", "-k", 3, "-o", tmp_path / "results")
    assert "run holds 2 sections: 'region_0', 'region_1'. Give one of them, or list them in a samples.csv" in line
    region = tmp_path / "run" / "region_0"
    for path in list(region.iterdir()):
        path.with_name("again_" + path.name).write_bytes(path.read_bytes())
    line = refused("domains", region, "-k", 3, "-o", tmp_path / "results")
    assert "Choose one with --counts-file, or give each section a folder of its own." in line
