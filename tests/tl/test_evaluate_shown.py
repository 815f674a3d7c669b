"""Held-out predictions that an evaluation keeps: whose they are, and that they are those that were scored."""

import numpy as np
import pytest

import histoquilt as hq
from histoquilt.models import MeanExpression, RidgeConfig, RidgeOnEmbedding
from histoquilt.train import Split


def plain_ridge():
    return RidgeOnEmbedding(RidgeConfig.plain())


@pytest.fixture(scope="module")
def sections():
    study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=24, kind="pairing", n_features=16)
    study["s2"].uns["spatial"] = {"s2": {"images": {"lowres": np.zeros((4, 4, 3), np.uint8)}, "scalefactors": {}}}
    study["s3"] = study["s3"][:, :-1].copy()
    for adata in study.values():
        adata.var["gene_symbol"] = [f"symbol of {name}" for name in adata.var_names]
    return study


def test_the_method_asked_for_first_is_shown_however_it_does(sections):
    methods = {"first": MeanExpression, "mine": plain_ridge}
    with pytest.warns(UserWarning, match="s3: 1"):  # a gene that one section did not measure
        found = hq.tl.evaluate_expression(sections, methods, use_rep="X_image", seeds=(4, 0), progress=False)
    assert list(found.predictions) == ["s1", "s2", "s3"]
    for adata in found.predictions.values():
        assert adata.uns["histoquilt"]["prediction"]["method"] == "first"
        assert set(adata.layers) == {"predicted_first", "measured_log1p_cp10k"}
    means = found.summary()["pcc_median"]
    assert means["mine"] > means["first"] + 0.3


@pytest.mark.parametrize(
    ("methods", "method"), [((), "ridge"), (["knn", "ridge"], "knn"), ("ridge_plain", "ridge_plain")]
)
def test_what_is_shown_is_what_was_scored(sections, methods, method, tmp_path):
    splits = [Split("1", ["s1", "s2"], ["s3"], False), Split("2", ["s1", "s3"], ["s2"], False)]
    with pytest.warns(UserWarning, match="not measured in the held-out section"):
        found = hq.tl.evaluate_expression(sections, methods, use_rep="X_image", splits=splits, progress=False)
    assert list(found.predictions) == ["s3", "s2"]
    for name, adata in found.predictions.items():
        layer = adata.uns["histoquilt"]["prediction"]["layer"]
        assert layer == f"predicted_{method}"
        assert list(adata.obs_names) == list(sections[name].obs_names)
        genes = found.genes.query("method == @method and section == @name").set_index("gene")["pearson"]
        assert sorted(genes.index) == sorted(adata.var_names)
        for gene in adata.var_names:
            measured, predicted = (adata.obs_vector(gene, layer=one) for one in ("measured_log1p_cp10k", layer))
            assert np.corrcoef(measured, predicted)[0, 1] == pytest.approx(genes[gene], abs=1e-4)
        assert "X_image" not in adata.obsm
        assert adata.var["gene_symbol"].iloc[0] == f"symbol of {adata.var_names[0]}"
        assert adata.uns["histoquilt"]["scale"] == {layer: "log1p_cp10k", "measured_log1p_cp10k": "log1p_cp10k"}
    assert list(found.predictions["s2"].uns["spatial"]) == ["s2"]
    assert found.predictions["s3"].n_vars == 23
    hq.io.write_h5ad(found.predictions["s3"], tmp_path / "s3.h5ad")
    axes = hq.pl.measured_and_predicted(found.predictions["s3"], n_genes=1)
    assert axes.shape == (1, 2)
    assert "r = " in axes[0, 1].get_title()
