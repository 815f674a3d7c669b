"""Evaluation of expression models: planted leaks, what each side is given, and tables that add up."""

import logging
import re
import warnings
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import EXPRESSION_MODELS
from histoquilt.datasets import paired_study
from histoquilt.evaluate import Evaluation, new_model, plan_folds
from histoquilt.metrics import paired_difference, score_annotation
from histoquilt.models import (
    MeanExpression,
    MissingCountsError,
    RidgeConfig,
    RidgeOnEmbedding,
    SpaHGC,
    SpaHGCConfig,
    Stack,
    StackConfig,
    measure,
)
from histoquilt.tl import evaluate_expression, labelled_sections
from histoquilt.train import Split

N_SIGNAL, N_GENES = 6, 13
ONE_FOLD = [Split("mine", ["s0", "s1"], ["s2", "s3"], optimistic=False)]
TWO_FOLDS = [Split("0", ["s1", "s2", "s3"], ["s0"], False), Split("1", ["s0", "s2", "s3"], ["s1"], False)]


def make_section(number: int, *, n_side: int = 7, signal: float = 1.0) -> AnnData:
    """A lattice of spots; 6 genes follow an embedding of 4 columns, 6 are noise, the last makes up nearly all counts.

    So that a frequent gene leaves less of the 10,000 counts to no other one.
    """
    slopes = np.random.default_rng(99).normal(0, signal, (4, N_GENES))
    slopes[:, N_SIGNAL:] = 0
    frequency = np.where(np.arange(N_GENES) == N_GENES - 1, 20_000, 12)
    rng = np.random.default_rng(number)
    shown = rng.normal(size=(n_side**2, 4))
    counts = rng.poisson(frequency * np.exp(0.5 * shown @ slopes)).astype(np.float32)
    adata = AnnData(csr_matrix(counts))
    adata.obs_names = [f"spot{i}" for i in range(n_side**2)]
    adata.var_names = [f"gene{i:02}" for i in range(N_GENES)]
    lattice = np.stack(np.meshgrid(np.arange(n_side), np.arange(n_side)), axis=-1).reshape(-1, 2)
    adata.obsm["spatial"] = 100.0 * lattice
    adata.obsm["X_image"] = (shown + rng.normal(0, 0.2, shown.shape)).astype(np.float32)
    adata.obs["patient"] = f"p{number}"
    adata.uns["histoquilt"] = {"coordinates": {"unit": "micron", "pitch_um": 100.0}}
    return adata


def make_study() -> dict[str, AnnData]:
    return {f"s{number}": make_section(number) for number in range(4)}


@pytest.fixture
def study() -> dict[str, AnnData]:
    return make_study()


@pytest.fixture(scope="module")
def plain() -> Evaluation:
    """All folds, two seeds, one method beside the baselines; read only."""
    return evaluate(make_study(), {"one": lambda: RidgeOnEmbedding(RidgeConfig(fields="one"))}, seeds=(0, 1))


def evaluate(study, methods=(), **more):
    return evaluate_expression(study, methods, use_rep="X_image", progress=False, **more)


class Spy(RidgeOnEmbedding):
    """Remembers every section that it was given."""

    trained_on: ClassVar[list[dict[str, Any]]] = []
    predicted: ClassVar[list[AnnData]] = []
    method = "spy"
    draws = True

    def fit(self, sections, **more):
        Spy.trained_on.append({"sections": sections, **more})
        return super().fit(sections, **more)

    def predict(self, section, **more):
        Spy.predicted.append(section)
        return super().predict(section, **more)


@pytest.fixture
def spy(monkeypatch):
    monkeypatch.setattr(Spy, "trained_on", [])
    monkeypatch.setattr(Spy, "predicted", [])
    return Spy


def test_a_model_is_given_its_training_sections_and_no_measurement_of_the_others(study, spy):
    study["s1"].obs["answer"] = 1.0
    study["s1"].obsm["answer"] = np.ones((49, 2))
    study["s1"].layers["answer"] = study["s1"].X.copy()
    found = evaluate(study, {"mine": lambda: spy(RidgeConfig.plain())}, seeds=(0, 5))
    assert len(spy.trained_on) == 8  # 4 folds, 2 seeds
    for given in spy.trained_on:
        assert len(given["sections"]) == 3
    held_out = [({*study} - {*given["sections"]}).pop() for given in spy.trained_on]
    assert held_out == ["s0", "s0", "s1", "s1", "s2", "s2", "s3", "s3"]
    assert [given["seed"] for given in spy.trained_on] == [0, 5] * 4
    for resolved in spy.predicted:
        section = resolved.adata
        assert section.n_vars == 0
        assert section.X is None
        with pytest.raises(ValueError, match="no expression"):  # nor what was made of it before
            measure(resolved)
        assert not section.layers
        assert set(section.obsm) == {"X_image", "spatial"}
        assert set(section.obs.columns) == {"section"}
    assert found.scores.query("method == 'mine'")["seed"].unique().tolist() == [0, 5]


def test_counts_of_a_held_out_section_change_nothing_that_is_chosen(study, spy):
    """All genes of s0 but one are silenced: the panel, the top genes and the models of its fold stay."""
    methods = {"mine": lambda: spy(RidgeConfig.plain())}
    before = evaluate(study, methods, n_genes=4, splits=TWO_FOLDS)
    first = spy.trained_on[0]
    spy.trained_on.clear()
    changed = study["s0"].X.toarray()
    changed[:] = 0
    changed[:, -2] = 500
    study["s0"].X = csr_matrix(changed)
    after = evaluate(study, methods, n_genes=4, splits=TWO_FOLDS)
    assert spy.trained_on[0]["genes"] == first["genes"]
    assert before.facts["chosen"]["ridge"]["0"] == after.facts["chosen"]["ridge"]["0"]
    sets = [
        {gene_set: n for gene_set, n in zip(rows["gene_set"], rows["n_genes"], strict=True)}
        for rows in (found.scores.query("section == 's0' and method == 'ridge'") for found in (before, after))
    ]
    assert sets[0] == sets[1]
    genes = [found.genes.query("section == 's0' and method == 'mean'")["gene"].tolist() for found in (before, after)]
    assert genes[0] == genes[1]
    # where s0 is training, it does change the panel: the test sees what it claims to see
    assert before.genes.query("section == 's1'")["gene"].unique().tolist() != (
        after.genes.query("section == 's1'")["gene"].unique().tolist()
    )


def test_signal_is_found_and_noise_is_not(plain):
    found = plain
    mean = found.genes.query("method == 'ridge_plain'").groupby("gene")["pearson"].mean()
    assert mean.iloc[:N_SIGNAL].min() > 0.4
    assert abs(mean.iloc[N_SIGNAL:-1]).max() < 0.4
    summary = found.gene_summary.query("method == 'ridge_plain'").set_index("gene")
    for fdr in ("fdr", "fdr_adjusted"):
        assert (summary[fdr].iloc[:N_SIGNAL] < 0.05).all()
        assert (summary[fdr].iloc[N_SIGNAL:-1] > 0.05).sum() >= 5
    assert (summary["n_sections"] == 4).all()


def test_baselines_and_oracles_stand_beside_every_method(plain):
    found = plain
    kinds = found.scores.drop_duplicates("method").set_index("method")["kind"].to_dict()
    assert kinds == {
        "mean": "baseline", "ridge_plain": "baseline", "ridge": "baseline", "reduced_rank_ridge": "baseline",
        "knn_cosine": "baseline", "knn": "baseline", "predicted_depth": "baseline",
        "one": "method", "neighbour_oracle": "oracle", "depth_oracle": "oracle",
    }  # fmt: skip
    assert set(found.scores["seed"]) == {0}  # none of them draws at random
    depth = found.scores.query("method == 'predicted_depth' and fold != 'all'")
    assert (depth["deviance_median"] == 0).all()
    one = found.scores.query("method == 'one' and fold != 'all' and gene_set == 'panel'")
    assert (one["deviance_above_0"] > 0.3).all()
    mean = found.scores.query("method == 'mean' and fold != 'all' and gene_set == 'panel'")
    assert (mean["pcc_median"] == 0).all()
    assert (mean["n_undefined"] == mean["n_genes"]).all()
    assert found.scores.query("method == 'depth_oracle'")["mse"].isna().all()
    thirds = {"highest_third", "middle_third", "lowest_third"}
    assert set(found.scores["gene_set"]) == {"panel", "top50_mean", "top50_variable", *thirds}
    columns = "fold,section,method,seed,gene_set,n_genes,n_undefined,pcc_mean,pcc_median,spearman_mean,mse,rmse,mae"
    assert set(columns.split(",")) <= set(found.scores.columns)
    assert not found.optimistic


def test_tables_agree_with_each_other(plain):
    found = plain
    own = found.scores.query("method == 'one' and gene_set == 'panel' and fold != 'all'")
    by_gene = found.genes.query("method == 'one'").groupby("section")["pearson"].median()
    np.testing.assert_allclose(own.set_index("section")["pcc_median"], by_gene)
    summary = found.summary()
    kinds = summary["kind"].tolist()
    assert kinds[-2:] == ["oracle", "oracle"]  # they use the answer; the others are ordered by score, whatever they are
    assert summary["pcc_median_adjusted"].iloc[:-2].is_monotonic_decreasing
    assert kinds[:-2] != sorted(kinds[:-2], key=["method", "baseline"].index)
    assert found.summary().loc["one", "pcc_median"] == pytest.approx(own["pcc_median"].mean())
    for value in ("pcc_median", "pcc_median_adjusted"):
        rows = found.scores.query("fold != 'all'")
        pairs = paired_difference(rows, "one", "ridge_plain", value=value).set_index("gene_set")
        told = found.differences.query("method == 'one' and against == 'ridge_plain' and value == @value")
        np.testing.assert_allclose(told.set_index("gene_set")["difference"], pairs["difference"])
        assert (told["verdict"] == "").all() == (value == "pcc_median")  # decided at equal depth
    assert set(found.scores.query("fold == 'all'")["section"]) == {"pooled", "pooled_centred"}
    pooled = found.scores.query("method == 'one' and gene_set == 'panel' and fold == 'all'")
    assert len(set(pooled["pcc_median_adjusted"])) == 1  # each section's level is removed in both rows
    assert pooled["pcc_median_adjusted"].iloc[0] == pytest.approx(own["pcc_median_adjusted"].mean(), abs=0.1)
    assert (pooled["note"] == "").all()
    assert pooled["deviance_median"].isna().all()
    assert set(found.structure["method"]) >= {"one", "ridge", "neighbour_oracle"}
    assert len(found.domains) == len(found.enrichment) == len(found.published) == 0


def test_a_method_is_said_to_beat_ridge_only_where_it_does(study):
    found = evaluate(study, {"worse": MeanExpression}, splits=ONE_FOLD).differences
    found = found.query("gene_set == 'panel' and value == 'pcc_median_adjusted'")
    verdict = {(row.method, row.against): row.verdict for row in found.itertuples()}
    assert verdict["worse", "ridge"] == "does not beat ridge"
    assert verdict["worse", "ridge_plain"] == "does not beat single-patch ridge"
    assert ("ridge", "ridge") not in verdict


class Depth(RidgeOnEmbedding):
    """Predicts the measured depth, of which it was told, for every gene, and the true map of the first as its rate."""

    method = "told"
    study: ClassVar[dict[str, AnnData]] = {}

    def predict(self, section, **more):
        found = super().predict(section, **more)
        counts = Depth.study[section.name].X.toarray()
        depth = counts.sum(axis=1, keepdims=True)
        found.layers["predicted_told"] = np.repeat(np.log1p(depth), found.n_vars, axis=1)
        rate = np.zeros(found.shape)
        rate[:, 0] = np.log((counts[:, 0] + 0.5) / (depth[:, 0] + 1))
        found.layers["relative_told"] = rate
        return found


def test_depth_alone_scores_raw_and_not_at_equal_depth(study):
    """The most frequent gene is nearly all of the depth: raw, depth predicts it, and takes from the other genes."""
    for adata in study.values():  # a spot of zero depth
        adata.X = csr_matrix(np.vstack([adata.X.toarray()[:-1], np.zeros((1, N_GENES))]).astype(np.float32))
    Depth.study = study
    found = evaluate(study, {"told": lambda: Depth(RidgeConfig.plain())}, splits=ONE_FOLD)
    genes = found.genes.query("method == 'told'").set_index(["section", "gene"])
    assert (genes["pearson"].abs() > 0.05).mean() > 0.5
    assert genes["pearson_adjusted"].abs().max() < 0.5  # log1p of a depth is nearly, not exactly, its log
    assert (genes.xs("gene00", level="gene")["deviance_explained"] > 0.8).all()
    assert (genes.drop("gene00", level="gene")["deviance_explained"] == 0).all()
    rows = found.scores.query("method == 'told' and gene_set == 'panel' and fold != 'all'")
    assert rows["deviance_median"].tolist() == [0, 0]
    np.testing.assert_allclose(rows["deviance_above_0"], 1 / N_GENES)
    assert (rows["note"] == "").all()
    pooled = found.scores.query("method == 'told' and gene_set == 'panel' and fold == 'all'")
    assert (pooled["pcc_median_adjusted"].abs() < 0.3).all()
    # depth alone is better than chance raw, and not at equal depth, which decides
    summary = found.gene_summary.query("method == 'told'").set_index("gene")
    assert (summary["fdr"] < 0.05).any()
    assert not (summary["fdr_adjusted"] < 0.05).any()
    oracle = found.scores.query("method == 'depth_oracle'")
    assert (oracle[["pcc_median_adjusted", "deviance_median"]] == 0).all(axis=None)
    assert found.summary().loc["told", "pcc_median_adjusted"] == pytest.approx(rows["pcc_median_adjusted"].mean())
    assert found.decided_by == "pcc_median_adjusted"


def test_a_section_without_raw_counts_has_raw_scores_only(study):
    normalised = study["s2"]
    normalised.X = csr_matrix(np.log1p(1e4 * normalised.X.toarray() / normalised.X.sum(axis=1)))
    normalised.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}
    found = evaluate(study, splits=ONE_FOLD)
    rows = found.scores.query("method == 'ridge' and gene_set == 'panel' and fold != 'all'").set_index("section")
    assert rows["pcc_median"].notna().all()
    assert rows["pcc_median_adjusted"].isna().tolist() == [True, False]
    assert rows["note"].tolist() == ["no raw counts: not adjusted for depth", ""]
    pooled = found.scores.query("method == 'ridge' and gene_set == 'panel' and fold == 'all'")
    assert pooled["note"].unique().tolist() == ["at equal depth without 's2': no raw counts"]
    np.testing.assert_allclose(pooled["pcc_median_adjusted"], rows["pcc_median_adjusted"].iloc[1])
    tests = found.genes.query("method == 'ridge'").groupby("section")[["fdr", "fdr_adjusted"]].count()
    assert tests["fdr_adjusted"].tolist() == [0, tests["fdr"].iloc[1]]
    of_ridge = found.intervals.query("method == 'ridge' and gene_set == 'panel'").set_index("value")
    assert of_ridge.loc["pcc_median", "n"] == 2
    assert of_ridge.loc["pcc_median_adjusted", "mean"] == rows["pcc_median_adjusted"].iloc[1]
    assert "1 without raw counts" in of_ridge.loc["pcc_median_adjusted", "note"]
    pairs = found.differences.query("method == 'mean' and gene_set == 'panel' and against == 'ridge'")
    assert pairs.set_index("value")["n_pairs"].to_dict() == {"pcc_median": 2, "pcc_median_adjusted": 1}
    last = study["s3"]
    last.X = csr_matrix(np.log1p(1e4 * last.X.toarray() / last.X.sum(axis=1)))
    last.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}
    found = evaluate(study, splits=ONE_FOLD)
    assert found.decided_by == "pcc_median"
    assert (found.differences["verdict"] != "").all()
    assert found.summary()["pcc_median_adjusted"].isna().all()
    assert found.gene_summary["fdr_adjusted"].isna().all()
    assert set(found.scores.query("fold == 'all'")["note"]) == {"no raw counts: not adjusted for depth"}


def test_members_of_a_stack_are_scored_on_their_own(study, caplog):
    make = {"mine": lambda: Stack(StackConfig(members=("count_regression", "knn")))}
    found = evaluate(study, make, splits=ONE_FOLD)
    kinds = found.summary()["kind"]
    assert (kinds["mine"], kinds["count_regression"], kinds["knn"]) == ("method", "method", "baseline")
    assert set(found.facts["chosen"]["mine"]["mine"]["weights"]) == {"count_regression", "knn"}
    for adata in study.values():
        adata.X = csr_matrix(np.log1p(1e4 * adata.X.toarray() / adata.X.sum(axis=1)))
        adata.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}
    with caplog.at_level(logging.INFO, "histoquilt"):
        found = evaluate(study, make, splits=ONE_FOLD)
    assert "count_regression is left out: a fold has too few raw counts" in caplog.text
    assert re.search(r"Fold mine, ridge_plain: Trained ridge on \d+ genes of 2 sections in", caplog.text)
    assert {"count_regression", "predicted_depth"}.isdisjoint(found.summary().index)
    assert "mine" in found.summary().index
    with pytest.raises(MissingCountsError, match="learns from raw counts"):
        evaluate(study, ["count_regression"], splits=ONE_FOLD)


def test_markers_are_a_set_of_their_own_predicted_in_addition(study, tmp_path):
    file = tmp_path / "markers.txt"
    file.write_text("gene03\nSYMBOL5\nUNKNOWN\n")
    study["s0"].var["gene_symbol"] = [f"SYMBOL{i}" for i in range(N_GENES)]
    with pytest.warns(UserWarning, match="1 of the 3 genes of markers= were not measured in all sections .*'UNKNOWN'"):
        found = evaluate(study, markers=file, n_genes=2, splits=ONE_FOLD)
    rows = found.scores.query("method == 'ridge' and section == 's2'").set_index("gene_set")
    assert rows.loc["markers", "n_genes"] == 2
    panel = rows.loc["panel", "n_genes"]
    assert found.folds["n_panel"].tolist() == [panel]
    genes = found.genes.query("method == 'ridge' and section == 's2'").set_index("gene")
    assert {"gene03", "gene05"} <= set(genes.index)
    assert panel < len(genes)
    assert rows.loc["markers", "pcc_median"] == pytest.approx(genes.loc[["gene03", "gene05"], "pearson"].median())
    assert found.summary("markers").loc["ridge", "pcc_median"] > 0.2
    with pytest.raises(ValueError, match="None of the 2 genes of markers= was measured in all sections: 'A', 'B'"):
        evaluate(study, markers=["A", "B"])
    file.write_text("")
    with pytest.raises(ValueError, match="names no gene"):
        evaluate(study, markers=file)
    with pytest.raises(FileNotFoundError):
        evaluate(study, markers=tmp_path / "none.txt")


def test_sections_are_not_changed(study):
    before = {name: adata.copy() for name, adata in study.items()}
    evaluate(study, splits=ONE_FOLD)
    for name, adata in study.items():
        assert (adata.X != before[name].X).nnz == 0
        pd.testing.assert_frame_equal(adata.obs, before[name].obs)
        assert set(adata.obsm) == set(before[name].obsm)
        assert adata.uns == before[name].uns


def test_the_same_seed_gives_the_same_tables(study):
    small = SpaHGCConfig(max_epochs=4, check_every=2, n_hidden=8, n_inputs=4, n_heads=2, n_layers=1)
    one, two = (evaluate(study, {"small": lambda: SpaHGC(small)}, splits=ONE_FOLD) for _ in range(2))
    pd.testing.assert_frame_equal(one.scores, two.scores)


def test_patients_that_share_a_slide_are_held_out_together(study):
    for name, adata in study.items():
        adata.obs["slide"] = "shared" if name in ("s0", "s1") else name
    found = evaluate(study, leave_out="patient")
    assert found.folds["fold"].tolist() == ["p0+p1", "p2", "p3"]
    assert found.folds["test"].tolist()[0] == ["s0", "s1"]


def test_inner_folds_keep_patients_of_a_slide_together(study, spy):
    for name, adata in study.items():
        adata.obs["slide"] = "shared" if name in ("s0", "s1") else name
    splits = [Split("p2", ["s0", "s1", "s3"], ["s2"], optimistic=False)]
    evaluate(study, {"mine": lambda: spy(RidgeConfig.plain())}, splits=splits)
    given = next(one["sections"] for one in spy.trained_on if {"s0", "s1"} <= {*one["sections"]})
    assert {str(given[name].adata.obs["patient"].iloc[0]) for name in ("s0", "s1")} == {"p0+p1"}


def test_leaving_out_sections_is_called_optimistic(study):
    study["s1"].obs["patient"] = "p0"
    found = evaluate(study, leave_out="section")
    assert found.optimistic
    assert found.folds.set_index("fold")["optimistic"].to_dict() == {"s0": True, "s1": True, "s2": False, "s3": False}


def test_genes_without_counts_are_no_news_when_folds_are_made():
    sections = paired_study(n_sections=3, n_spots=60, n_genes=40, seed=0)
    for adata in sections.values():
        adata.X = csr_matrix(np.where(np.arange(40) == 3, 0, adata.X.toarray()))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert len(plan_folds(sections, "section")) == 3
    sections["s1"] = sections["s2"].copy()
    with pytest.raises(ValueError, match=r"leaks: .* spots of the held-out section 's1' are also in 's2'"):
        plan_folds(sections, "section")


def test_a_patient_on_both_sides_is_refused(study):
    study["s1"].obs["patient"] = "p0"
    splits = [Split("mine", ["s0", "s2"], ["s1", "s3"], optimistic=False)]
    with pytest.raises(ValueError, match="leaks: patient 'p0' on both sides"):
        evaluate(study, splits=splits)
    with pytest.raises(ValueError, match="a name of its own"):
        evaluate(study, splits=[Split("x", ["s0", "s1"], ["s2"], False), Split("x", ["s0", "s1"], ["s3"], False)])


def test_genes_that_a_held_out_section_lacks_are_counted(study):
    study["s0"] = study["s0"][:, 2:].copy()
    with pytest.warns(UserWarning, match=r"cannot be scored there \(s0: 2\)"):
        found = evaluate(study, splits=TWO_FOLDS)
    rows = found.scores.query("gene_set == 'panel' and method == 'ridge'").set_index("section")
    assert rows.loc["s0", ["n_genes", "n_unmeasured"]].tolist() == [N_GENES - 2, 2]
    assert rows.loc["s1", ["n_genes", "n_unmeasured"]].tolist() == [N_GENES - 2, 0]  # s0 trains there
    study["s0"].var_names = [f"other{i}" for i in range(N_GENES - 2)]
    with pytest.raises(ValueError, match="measured none of the 13 genes"):
        evaluate(study)


def test_the_published_protocol_is_marked_and_leaves_the_rest_alone(study):
    honest = evaluate(study, splits=ONE_FOLD)
    published = evaluate(study, splits=ONE_FOLD, protocol="published")
    pd.testing.assert_frame_equal(honest.scores, published.scores)
    assert set(published.published["protocol"]) == {"published (flawed)"}
    assert set(published.published["code"]) == {"mclstexp", "spahgc"}
    assert "depth_oracle" in set(published.published["method"])
    for adata in study.values():
        adata.X = csr_matrix(np.log1p(1e4 * adata.X.toarray() / adata.X.sum(axis=1)))
        adata.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}
    with pytest.raises(ValueError, match="normalised expression only"):
        evaluate(study, protocol="published")
    assert not {"depth_oracle", "predicted_depth"} & set(evaluate(study, splits=ONE_FOLD).scores["method"])


def test_enrichment_of_well_predicted_genes(study, tmp_path):
    gmt = tmp_path / "sets.gmt"
    names = [f"gene{i:02}" for i in range(N_GENES)]
    gmt.write_text("\t".join(["signal", "", *names[:6]]) + "\n" + "\t".join(["noise", "", *names[6:]]) + "\n")
    found = evaluate(study, gmt=gmt, splits=ONE_FOLD).enrichment.query("method == 'ridge_plain'").set_index("gene_set")
    assert found.loc["signal", "q_value"] < 0.05 < found.loc["noise", "q_value"]
    gmt.write_text("mouse\t\tA\tB\tC\n")
    with pytest.warns(UserWarning, match="Enrichment is left out"):
        assert evaluate(study, gmt=gmt, splits=ONE_FOLD).enrichment.empty
    with pytest.raises(FileNotFoundError, match="GMT"):
        evaluate(study, gmt=tmp_path / "none.gmt")


def test_domains_of_predictions_are_compared_with_labels(study):
    section = study["s0"]
    section.obs["region"] = np.where(section.obsm["spatial"][:, 0] < 300, "left", "right")
    section.obs.loc[section.obs_names[:5], "region"] = None
    splits = [Split("mine", ["s2", "s3"], ["s0", "s1"], optimistic=False)]
    judged = evaluate(study, label_key="region", splits=splits)
    found = judged.domains
    assert set(found["section"]) == {"s0"}
    baselines = {
        "mean", "predicted_depth", "ridge_plain", "ridge", "reduced_rank_ridge", "knn_cosine", "knn",
    }  # fmt: skip
    assert set(found["method"]) == baselines | {"image_only", "measured"}
    assert found.set_index("method").loc["image_only", "kind"] == "baseline"
    assert (found["n_labelled"] == 44).all()
    assert (found["n_domains"] == 2).all()
    assert (found.query("method == 'mean'")[["ari", "nmi"]] == 0).all(axis=None)
    shown = {name: adata.obs.filter(regex="^domain_") for name, adata in judged.predictions.items()}
    assert shown["s1"].empty
    pd.testing.assert_series_equal(judged.predictions["s0"].obs["region"], section.obs["region"])
    assert {f"domain_{method}" for method in found["method"]} - {"domain_mean"} == set(shown["s0"])
    for column, domains in shown["s0"].items():
        score = score_annotation(section.obs["region"], domains)
        expected = found.set_index("method").loc[column.removeprefix("domain_"), "ari"]
        assert score.ari == pytest.approx(expected)
    section.obs.loc[section.obs_names[-3:], "region"] = ["Undetermined", " nan", "unknown"]
    words = labelled_sections(study, "region")["s0"]
    assert words.notna().sum() == 41
    assert set(words.dropna()) == {"left", "right"}
    assert set(labelled_sections(study, "region", ("Left",))["s0"].dropna()) == {
        "right", "Undetermined", " nan", "unknown",
    }  # fmt: skip
    with pytest.raises(KeyError, match="label_key='layer' is in obs of no section"):
        evaluate(study, label_key="layer")
    for adata in study.values():
        adata.obs["one"] = "tissue"
    with pytest.raises(ValueError, match="does not distinguish two regions"):
        evaluate(study, label_key="one")


@pytest.mark.parametrize(
    ("methods", "more", "error", "words"),
    [
        (["spahgcc"], {}, ValueError, "Unknown expression model 'spahgcc'. Did you mean 'spahgc'"),
        (["knn", "knn"], {}, ValueError, "named twice: 'knn'"),
        ({"ridge": MeanExpression}, {}, ValueError, "those of baselines and oracles"),
        ({"mine": MeanExpression()}, {}, TypeError, "a function that returns a new, untrained model"),
        ({"mine": dict}, {}, TypeError, "which is not an ExpressionModel"),
        ([], {"leave_out": "slide"}, ValueError, "leave_out must be"),
        ([], {"protocol": "fair"}, ValueError, "protocol must be"),
        ([], {"seeds": ()}, ValueError, "seeds must be"),
        ([], {"seeds": (1, 1)}, ValueError, "each once"),
        ([], {"n_genes": 0}, ValueError, "n_genes must be"),
        ([], {"patient_key": "donor"}, KeyError, "Pass patient_key="),
    ],
)
def test_arguments_that_cannot_be(study, methods, more, error, words):
    with pytest.raises(error, match=words):
        evaluate(study, methods, **more)


def test_studies_that_cannot_be_judged(study):
    with pytest.raises(KeyError, match="'X_none' is not in obsm of section 's0'"):
        evaluate_expression(study, use_rep="X_none", progress=False)
    two = {name: study[name] for name in ("s0", "s1")}
    with pytest.raises(ValueError, match="leaves one section to train on"):
        evaluate(two)
    for adata in study.values():
        adata.obs["patient"] = "same"
    with pytest.raises(ValueError, match="nothing to train"):
        evaluate(study)
    study["pooled"] = study.pop("s0")
    with pytest.raises(ValueError, match="may be called 'pooled'"):
        evaluate(study, leave_out="section")


@pytest.mark.parametrize("name", EXPRESSION_MODELS.names())
def test_every_short_name_makes_a_model(name):
    assert name.startswith(new_model(name).method)


def test_centres_and_counts_under_other_keys_give_the_same_scores(study):
    usual = evaluate(study, splits=ONE_FOLD).scores
    for adata in study.values():
        adata.obsm["places"] = adata.obsm.pop("spatial")
        adata.layers["mine"] = adata.X
        adata.X = None
    other = evaluate(study, spatial_key="places", layer="mine", splits=ONE_FOLD).scores
    assert other["pcc_median"].to_numpy() == pytest.approx(usual["pcc_median"].to_numpy(), nan_ok=True)
