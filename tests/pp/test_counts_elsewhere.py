"""Counts that lie in another slot are named with what takes them, and corrected counts may be declared."""

import re

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData

import histoquilt as hq
from histoquilt.cli import run
from histoquilt.pp import expression


@pytest.fixture
def logged():
    """Return a section as scanpy leaves it, and its counts."""
    adata = hq.datasets.toy_section(n_spots=120, n_genes=40, n_domains=2, seed=0)
    adata.uns.clear()
    counts = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata, counts


def with_raw(adata, counts):
    adata.raw = AnnData(counts, obs=adata.obs, var=adata.var)
    return adata


def with_more_genes_in_raw(adata, counts):
    adata.raw = AnnData(counts, obs=adata.obs, var=adata.var)
    return adata[:, 5:30].copy()


def with_layer(name, dtype=None, dense=False):
    def change(adata, counts):
        matrix = counts.toarray() if dense else counts.copy()
        adata.layers[name] = matrix if dtype is None else matrix.astype(dtype)
        return adata

    return change


CASES = [
    (with_raw, """raw counts for 40 genes: adata.layers["counts"] = adata.raw.X."""),
    (with_more_genes_in_raw, """for 40 genes: adata.layers["counts"] = adata.raw[:, adata.var_names].X."""),
    (with_layer("raw_counts"), "layers['raw_counts'] holds whole numbers: pass layer='raw_counts'"),
    (with_layer("UMI", dtype=np.int64), "layers['UMI'] holds whole numbers: pass layer='UMI'"),
    (with_layer("spliced sums", dense=True), "layers['spliced sums'] holds whole numbers"),
]


@pytest.mark.parametrize(("change", "words"), CASES)
def test_where_whole_numbers_are(logged, change, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        expression(change(*logged))


def test_counts_in_x_beside_a_logged_layer(logged):
    adata, counts = logged
    adata.layers["counts"], adata.X = adata.X.copy(), counts
    with pytest.raises(ValueError, match="X holds whole numbers: pass layer='X'"):
        expression(adata)
    assert expression(adata, "X").scale == "counts"


@pytest.mark.parametrize("key", ["raw_counts", "my counts"])
def test_the_command_names_its_option(logged, tmp_path, capsys, key):
    adata = with_layer(key)(*logged)
    adata.write_h5ad(tmp_path / "s.h5ad")
    command = ["domains", str(tmp_path / "s.h5ad"), "-k", "2", "-o", str(tmp_path / "o"), "--denoise", "none"]
    command += ["--levels", "none", "--stability", "none"]
    assert run(command) == 2
    told = " ".join(capsys.readouterr().err.split())
    option = f"--layer {key}" if " " not in key else f"--layer '{key}'"
    assert f"pass {option}." in told
    assert run([*command, "--layer", key]) == 0


@pytest.mark.parametrize("factor", [0.93, 0.31, 7.5])
def test_corrected_counts_may_be_declared(logged, factor):
    adata, counts = logged
    rng = np.random.default_rng(0)
    adata.X = counts * factor
    adata.X.data *= rng.uniform(0.8, 1.0, adata.X.nnz).astype(np.float32)
    with pytest.raises(ValueError, match=r"corrected \(decontaminated\), \{'scale': \{'X': 'counts'\}\}"):
        expression(adata)
    adata.uns["histoquilt"] = {"scale": {"X": "counts"}}
    with pytest.warns(UserWarning, match="declared counts, but holds fractions"):
        assert expression(adata).scale == "counts"


@pytest.mark.parametrize("target", [1e4, 1e3, None])
@pytest.mark.parametrize("n_genes", [40, 15])
def test_a_declaration_from_before_the_logarithm_is_still_found(logged, target, n_genes):
    adata, counts = logged
    adata.X = counts
    adata.uns["histoquilt"] = {"scale": {"X": "counts"}}
    sc.pp.normalize_total(adata, target_sum=target)
    sc.pp.log1p(adata)
    with pytest.raises(ValueError, match=r"looks log-transformed.*changed after"):
        expression(adata[:, :n_genes].copy())
