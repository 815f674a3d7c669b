"""The probe and the score of HEST-Bench, against their description."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import lsqr

from histoquilt.evaluate import hest_overview, hest_probe, hest_table
from histoquilt.study import Section
from histoquilt.tl import evaluate_expression
from histoquilt.train import Split

N_SIDE, N_GENES, N_FEATURES = 8, 5, 20


def make_section(number: int) -> AnnData:
    """Genes follow an embedding of 20 columns, and depth follows its first."""
    rng, slopes = np.random.default_rng(number), np.random.default_rng(99).normal(size=(N_FEATURES, N_GENES)) / 4
    x = rng.normal(size=(N_SIDE**2, N_FEATURES)) * np.linspace(1, 3, N_FEATURES)
    adata = AnnData(csr_matrix(rng.poisson(20 * np.exp(0.2 * x @ slopes + 0.4 * x[:, :1])).astype(np.float32)))
    adata.obs_names = [f"spot{i}" for i in range(adata.n_obs)]
    adata.var_names = [f"gene{i}" for i in range(N_GENES)]
    lattice = np.stack(np.meshgrid(np.arange(N_SIDE), np.arange(N_SIDE)), axis=-1).reshape(-1, 2)
    adata.obsm["spatial"] = 100.0 * lattice
    adata.obsm["X_image"] = (x + 5).astype(np.float32)
    adata.obs["patient"] = f"p{number}"
    adata.uns["histoquilt"] = {"coordinates": {"unit": "micron", "pitch_um": 100.0}}
    return adata


@pytest.fixture
def study() -> dict[str, AnnData]:
    return {f"s{number}": make_section(number) for number in range(4)}


def described(train_x, train_y, test_x, n_components: int) -> np.ndarray:
    """The probe as HEST-Bench describes it: standardise, PCA, LSQR with the tolerance of scikit-learn's Ridge."""
    mean, sd = train_x.mean(axis=0), train_x.std(axis=0)
    train, test = (train_x - mean) / sd, (test_x - mean) / sd
    axes = np.linalg.svd(train, full_matrices=False)[2][:n_components].T
    train, test = train @ axes, test @ axes
    damp = np.sqrt(100 / (n_components * train_y.shape[1]))
    columns = [lsqr(train, y, damp=damp, atol=1e-4, btol=1e-4, iter_lim=1000)[0] for y in train_y.T]
    return test @ np.column_stack(columns)


def test_the_probe_agrees_with_its_description(study):
    x = [adata.obsm["X_image"].astype(np.float64) for adata in study.values()]
    y = [np.log1p(adata.X.toarray().astype(np.float64)) for adata in study.values()]
    train_x, train_y = np.concatenate(x[:3]), np.concatenate(y[:3])
    expected = described(train_x, train_y, x[3], N_FEATURES)
    found = hest_probe(train_x.astype(np.float32), train_y, x[3].astype(np.float32))
    r = [np.corrcoef(truth, guess)[0, 1] for truth, guess in zip(y[3].T, expected.T, strict=True)]
    sections = {name: Section(name, adata) for name, adata in study.items()}
    table = hest_table(sections, Split("0", ["s0", "s1", "s2"], ["s3"], False), list(study["s0"].var_names), "X_image")
    row = table.set_index("method").loc["hest_probe"]
    assert row["pcc_mean"] == pytest.approx(np.mean(r), abs=1e-6)
    assert row["pcc_mean"] > 0.5
    np.testing.assert_allclose(found, expected, atol=2e-5)  # float32 principal components
    assert (row["n_train"], row["n_test"], row["n_genes"], row["n_undefined"]) == (192, 64, 5, 0)


def test_many_features_are_reduced_to_256_components():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 300)) * np.linspace(0.1, 2, 300)
    y = x[:, -3:] + rng.normal(size=(400, 3))
    expected = described(x[:330], y[:330], x[330:], 256)
    found = hest_probe(x[:330], y[:330], x[330:])
    r = np.corrcoef(expected.T, found.T)[:3, 3:].diagonal()
    assert r.min() > 0.99  # a randomised SVD beside the exact one
    penalty_of_all = described(x[:330], y[:330], x[330:], 300)
    assert np.abs(found - expected).max() < np.abs(found - penalty_of_all).max()


def test_the_rows_beside_the_probe(study):
    sections = {name: Section(name, adata) for name, adata in study.items()}
    split = Split("0", ["s0", "s1"], ["s2", "s3"], False)
    genes = list(study["s0"].var_names)
    table = hest_table(sections, split, genes, "X_image").set_index("method")
    assert table.index.tolist() == ["hest_probe", "probe_depth", "depth_oracle"]
    truth = np.concatenate([np.log1p(study[name].X.toarray().astype(np.float64)) for name in split.test])
    depth = np.concatenate([np.log1p(study[name].X.sum(axis=1).A1) for name in split.test])
    r = [np.corrcoef(column, depth)[0, 1] for column in truth.T]
    assert table.loc["depth_oracle", "pcc_mean"] == pytest.approx(np.mean(r), abs=1e-6)  # spots of both sections
    assert table.loc["depth_oracle", "pcc_mean_adjusted"] == pytest.approx(0, abs=0.05)
    assert table.loc["probe_depth", "pcc_mean"] > 0.3
    assert table.loc["probe_depth", "pcc_mean_adjusted"] < 0.3 < table.loc["hest_probe", "pcc_mean_adjusted"]


def test_an_undefined_gene_makes_the_mean_undefined_as_in_hest(study):
    counts = study["s3"].X.toarray()
    counts[:, 2] = 0
    study["s3"].X = csr_matrix(counts)
    sections = {name: Section(name, adata) for name, adata in study.items()}
    table = hest_table(sections, Split("0", ["s0", "s1"], ["s3"], False), list(study["s0"].var_names), "X_image")
    row = table.set_index("method").loc["hest_probe"]
    assert row["n_undefined"] == 1
    assert np.isnan(row["pcc_mean"])
    assert row["pcc_mean_defined"] > 0.3


def test_methods_stand_beside_the_probe_at_their_predicted_depth(study):
    splits = [Split("0", ["s0", "s1", "s2"], ["s3"], False), Split("1", ["s1", "s2", "s3"], ["s0"], False)]
    found = evaluate_expression(
        study, ["ridge"], use_rep="X_image", splits=splits, genes=list(study["s0"].var_names), protocol="hest",
        progress=False,
    )  # fmt: skip
    means = found.hest.groupby("method")["pcc_mean"].mean()
    assert set(found.hest["fold"]) == {"0", "1"}
    assert {"hest_probe", "probe_depth", "depth_oracle", "ridge", "predicted_depth", "mean"} <= set(means.index)
    assert "neighbour_oracle" not in means.index
    assert means["ridge"] > means["mean"]  # at one depth, and with genes of their own
    assert means["ridge"] == pytest.approx(means["hest_probe"], abs=0.15)
    assert found.published.empty
    counts = study["s1"].X.copy()
    study["s1"].X = counts / 3
    with pytest.raises(ValueError, match="counts"):
        evaluate_expression(study, use_rep="X_image", splits=splits, protocol="hest", progress=False)


def test_published_rows_are_quoted_for_tasks_of_their_names():
    row = {"fold": "0", "method": "hest_probe", "kind": "probe", "seed": 1, "pcc_mean": 0.5, "pcc_mean_adjusted": 0.2}
    table = pd.DataFrame([row, {**row, "fold": "1", "pcc_mean": 0.7}])
    found = hest_overview({"IDC": table, "PRAD": table}, "he_texture")
    own, quoted = found[found["kind"] != "quoted"], found[found["kind"] == "quoted"]
    assert own[["method", "average", "average_adjusted", "IDC"]].to_numpy().tolist() == [["hest_probe", 0.6, 0.2, 0.6]]
    uni = quoted.set_index("encoder").loc["UNI2-h"]
    assert (uni["IDC"], uni["PRAD"], uni["average"]) == (0.5898, 0.3569, pytest.approx((0.5898 + 0.3569) / 2))
    assert quoted["source"].str.contains("mahmoodlab/HEST").all()
    assert hest_overview({"IDC": table, "MINE": table}, "he_texture").query("kind == 'quoted'")["average"].isna().all()
    assert "quoted" not in set(hest_overview({"MINE": table}, "he_texture")["kind"])
    assert "quoted" not in set(hest_overview({"IDC": table}, "he_texture", "pcc_mean_adjusted")["kind"])
