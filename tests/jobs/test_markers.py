"""``histoquilt domains --use-rep`` writes domains where the expression allows no markers, and says so once."""

import json

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

from histoquilt import tl
from histoquilt.cli import run


def _scanpy(adata, kind):
    """What an ordinary scanpy session leaves: X of some kind, and X_pca."""
    adata.uns.clear()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=8)
    if kind == "scaled":
        sc.pp.scale(adata)
    if kind == "NaN":
        adata.X = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
        adata.X[0, 0] = np.nan
    return ad.AnnData(obs=adata.obs, var=adata.var, obsm=dict(adata.obsm)) if kind == "no X" else adata


BARE = ["--levels", "none", "--stability", "none"]  # only markers are looked at
WORDS = {"logged": "looks log-transformed", "scaled": "negative values", "no X": "X is empty", "NaN": "NaN"}


@pytest.mark.parametrize("kind", list(WORDS))
def test_domains_are_written_and_markers_left_out(section, quick, tmp_path, capsys, kind):
    _scanpy(section, kind).write_h5ad(tmp_path / "s.h5ad")
    out = tmp_path / "out"
    arguments = ["-k", "3", "--use-rep", "X_pca", "--config", str(quick), "-q", "--out", str(out), *BARE]
    assert run(["domains", str(tmp_path / "s.h5ad"), *arguments]) == 0
    written = ad.read_h5ad(out / "s.h5ad")
    assert written.obs["domain"].nunique() == 3
    assert "domain_markers" not in written.uns
    [told] = [text for text in json.loads((out / "run.json").read_text())["warnings"] if "Markers are left out" in text]
    assert WORDS[kind] in told
    assert "use-rep" not in told
    assert "use_rep" not in told
    assert capsys.readouterr().err.count("Markers are left out") == 1


@pytest.mark.parametrize("kind", ["logged", "no X"])
def test_a_study_too(three, quick, tmp_path, capsys, kind):
    paths = []
    for name, adata in three.items():
        paths.append(tmp_path / f"{name}.h5ad")
        _scanpy(adata, kind).write_h5ad(paths[-1])
    out = tmp_path / "out"
    arguments = ["-k", "3", "--use-rep", "X_pca", "--links", "none", "--config", str(quick), "-q", *BARE]
    arguments += ["--out", str(out)]
    assert run(["domains", *map(str, paths), *arguments]) == 0, capsys.readouterr().err
    assert "domain" in ad.read_h5ad(out / "s1.h5ad").obs
    assert capsys.readouterr().err.count("Markers are left out") == 1


def test_counts_still_have_markers(section, quick, tmp_path):
    section.layers["counts"] = section.X.copy()
    _scanpy(section, "logged").write_h5ad(tmp_path / "s.h5ad")
    out = tmp_path / "out"
    arguments = ["-k", "3", "--use-rep", "X_pca", "--config", str(quick), "-q", "--out", str(out), *BARE]
    assert run(["domains", str(tmp_path / "s.h5ad"), *arguments]) == 0
    assert len(ad.read_h5ad(out / "s.h5ad").uns["domain_markers"])


def test_what_cannot_work_is_refused_before_the_work(refused, section, tmp_path, monkeypatch):
    _scanpy(section, "logged").write_h5ad(tmp_path / "s.h5ad")
    monkeypatch.setattr(tl, "spatial_domains", lambda *_, **__: pytest.fail("worked"))
    rest = [tmp_path / "s.h5ad", "--use-rep", "X_pca", "-q", "--out", tmp_path / "out"]
    for number in ("1", "0"):
        told = refused("domains", *rest, "-k", number)
        assert f"--n-domains must be at least 2, got {number}" in told
    told = refused("domains", *rest, "-k", "3", "--layer", "raw")
    assert "'raw' is not in adata.layers (found: nothing). Pass --layer" in told


def test_markers_from_python_do_not_advise_an_argument_that_is_not_theirs(section):
    section.obs["domain"] = np.where(np.arange(section.n_obs) % 2, "1", "2")
    section.X = None
    with pytest.raises(ValueError, match=r"Markers need expression.*layers\['counts'\], or pass layer="):
        tl.domain_markers(section)
