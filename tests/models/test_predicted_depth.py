"""Predicted depth: constant rates at the depth that the image shows, and what it says without raw counts."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.metrics import depth_adjusted_correlation, score_genes
from histoquilt.models import PredictedDepth, ReducedRankRidge, measure
from histoquilt.study import Study


@pytest.fixture
def study():
    """Three sections whose depth the embedding shows, while no gene's rate varies."""
    sections = hq.datasets.paired_study(n_sections=3, n_spots=120, n_genes=30, seed=0)
    rates = np.random.default_rng(7).dirichlet(np.full(30, 5.0))
    for number, adata in enumerate(sections.values()):
        rng = np.random.default_rng(number)
        log_depth = rng.normal(5.0, 0.3, 120)
        adata.X = csr_matrix(rng.poisson(np.exp(log_depth)[:, None] * rates).astype(np.float32))
        adata.layers.clear()
        noise = rng.normal(size=(120, 4))
        adata.obsm["X_image"] = np.column_stack([log_depth, noise]).astype(np.float32)
    return sections


def test_depth_scores_raw_and_nothing_at_equal_depth(study, tmp_path):
    held_out = study.pop("s3")
    model = PredictedDepth().fit(study, use_rep="X_image")
    found = model.predict(held_out)
    counts = held_out.to_df()[found.var_names].to_numpy()
    depth = held_out.X.toarray().sum(axis=1)
    truth = np.log1p(1e4 * counts / depth[:, None])
    predicted = found.layers["predicted_predicted_depth"]
    assert not found.layers["relative_predicted_depth"].any()
    assert score_genes(truth, predicted, list(found.var_names))["pearson"].abs().median() > 0.1
    assert abs(np.median(depth_adjusted_correlation(truth, predicted, np.log(depth)))) < 0.05
    # the level of every gene is that of training: the prediction is the expectation, not only a shape
    np.testing.assert_allclose(predicted.mean(axis=0), truth.mean(axis=0), rtol=0.35)
    assert "mostly how many counts they have" in found.uns["histoquilt"]["prediction"]["caution"]
    model.save(tmp_path / "model")
    again = hq.models.load(tmp_path / "model").predict(held_out)
    np.testing.assert_array_equal(again.layers["predicted_predicted_depth"], predicted)
    np.testing.assert_array_equal(again.var["reliability_adjusted"], found.var["reliability_adjusted"])


def test_sections_without_raw_counts(study):
    def normalise(adata):
        adata.X = csr_matrix(np.log1p(1e4 * adata.X.toarray() / adata.X.sum(axis=1)).astype(np.float32))
        adata.uns.setdefault("histoquilt", {})["scale"] = {"X": "log1p_cp10k"}

    held_out = study.pop("s3")
    normalise(study["s1"])
    found = PredictedDepth().fit(study, use_rep="X_image").predict(held_out)
    assert found.layers["predicted_predicted_depth"].any()
    normalise(study["s2"])
    with pytest.raises(ValueError, match="needs raw counts in at least one training section"):
        PredictedDepth().fit(study, use_rep="X_image")


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_on_a_tumour_depth_is_much_of_the_raw_score_and_nothing_at_equal_depth(her2st_half):
    """Three sections of one breast tumour, each predicted by the other two."""
    sections = {}
    for name in ("C2", "C3", "C4"):
        adata, image = her2st_half(name)
        mpp = hq.io.estimate_mpp(adata, pitch_um=200.0)
        hq.im.embed_patches(adata, image, mpp=mpp, field_um=[200.0, 400.0], key_added="X_he", progress=False)
        sections[name] = adata
    scores = {}
    for model in (PredictedDepth, ReducedRankRidge):
        raw, adjusted = [], []
        for name, held_out in sections.items():
            others = {other: adata for other, adata in sections.items() if other != name}
            found = model().fit(others).predict(held_out)
            genes = [gene for gene in found.var_names if gene in held_out.var_names]
            measured = measure(Study.of({name: held_out})[name])
            predicted = found[:, genes].layers[f"predicted_{model.method}"]
            raw.append(score_genes(measured.of(genes), predicted, genes)["pearson"].median())
            log_depth = np.log(measured.depth)
            adjusted.append(np.median(depth_adjusted_correlation(measured.of(genes), predicted, log_depth)))
        scores[model] = np.mean(raw), np.mean(adjusted)
    assert scores[PredictedDepth][0] > 0.1
    assert abs(scores[PredictedDepth][1]) < 0.05
    assert scores[ReducedRankRidge][1] > 0.15
    assert scores[ReducedRankRidge][0] > scores[ReducedRankRidge][1] + 0.05
