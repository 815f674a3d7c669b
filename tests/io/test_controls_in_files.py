"""Control probes and spike-ins are not genes."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.io._controls import find_controls

CONTROLS = [
    "NegPrb1", "Negative", "Negative07", "SystemControl12", "FalseCode3", "BLANK_0004", "Blank-17", "blank-2",
    "NegControlProbe_00042", "NegControlCodeword_0512", "UnassignedCodeword_0006", "DeprecatedCodeword_0321",
    "antisense_PROKR2", "ERCC-00002", "Negative Control Probe 3",
]  # fmt: skip
GENES = ["ERCC1", "ERCC6L2", "Ercc5", "NEGR1", "BLNK", "NELFA", "SYS1", "ANTXR1", "ENSG00000012061", "DEPDC1"]


def test_names():
    assert find_controls(pd.DataFrame(index=CONTROLS)).all()
    assert not find_controls(pd.DataFrame(index=GENES)).any()


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_they_are_set_aside_in_every_file(tmp_path, suffix, dtype):
    section = hq.datasets.toy_section(n_spots=60, n_genes=30, n_domains=2, seed=0)
    names = [*section.var_names[:-3], "NegPrb1", "BLANK_1", "ERCC-00002"]
    counts = section.X.astype(dtype)
    adata = ad.AnnData(
        counts, obs=section.obs, var=pd.DataFrame(index=names), obsm={"spatial": section.obsm["spatial"]}
    )
    adata.layers["counts"] = counts.copy()
    path = tmp_path / f"s{suffix}"
    adata.write_h5ad(path) if suffix == ".h5ad" else adata.write_zarr(path)
    read = hq.io.read_section(path)
    assert list(read.var_names) == names[:-3]
    assert read.layers["counts"].shape == (60, 27)
    assert list(read.obsm["controls"]) == names[-3:]
    np.testing.assert_array_equal(read.obsm["controls"].to_numpy(), counts[:, -3:].toarray())
    if suffix == ".h5ad":
        assert list(hq.io.read_h5ad(path).var_names) == names[:-3]


def test_a_file_without_controls_is_not_copied(tmp_path):
    section = hq.datasets.toy_section(n_spots=60, n_genes=30, n_domains=2, seed=0)
    assert hq.io._controls.set_controls_aside(section) is section
    assert "controls" not in section.obsm
