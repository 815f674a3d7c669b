"""What all expression models share: checks, panel, leakage, prediction, checkpoint."""

import json
import logging
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.models import (
    CountRegression,
    MclSTExp,
    MeanExpression,
    NearestNeighbours,
    ReducedRankRidge,
    RidgeConfig,
    RidgeOnEmbedding,
    SpaHGC,
    load,
)

MODELS = [MeanExpression, RidgeOnEmbedding, ReducedRankRidge, CountRegression, NearestNeighbours]


def record(adata, rep="X_image", **changes):
    adata.uns["histoquilt"][rep] = {
        "encoder": "he_texture", "digest": "d1", "mpp": 0.5, "field_um": 112.0, "licence": "", **changes
    }  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_a_prediction_is_complete_and_survives_the_checkpoint(model, study, tmp_path):
    held_out = study.pop("s3")
    fitted = model().fit(study, use_rep="X_image", seed=3)
    predicted = fitted.predict(held_out)
    key = f"predicted_{fitted.method}"
    assert predicted.layers[key].dtype == np.float32
    assert list(predicted.var_names) == fitted.genes
    relative = key.replace("predicted", "relative")
    scales = {key: "log1p_cp10k", "measured_log1p_cp10k": "log1p_cp10k", relative: "log_relative"}
    assert predicted.uns["histoquilt"]["scale"] == scales
    np.testing.assert_allclose(predicted.obsm["spatial_px"], held_out.obsm["spatial"])
    np.testing.assert_allclose(predicted.obsm["spatial_um"], 0.5 * held_out.obsm["spatial"])
    assert predicted.obs["out_of_distribution"].mean() < 0.1
    counts = held_out.X.toarray()
    np.testing.assert_allclose(
        predicted.layers["measured_log1p_cp10k"], np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)), rtol=1e-5
    )
    np.testing.assert_array_equal(predicted.obs["measured_counts"], counts.sum(axis=1))
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    again = loaded.predict(held_out)
    np.testing.assert_array_equal(again.layers[key], predicted.layers[key])
    assert again.var.equals(predicted.var)
    assert again.obs.equals(predicted.obs)
    assert loaded.config == fitted.config
    assert repr(loaded) == repr(fitted)
    np.testing.assert_array_equal(
        model().fit(study, use_rep="X_image", seed=3).predict(held_out).layers[key], predicted.layers[key]
    )
    predicted.write_h5ad(tmp_path / "predicted.h5ad")
    facts = json.loads((tmp_path / "model" / "provenance.json").read_text())
    assert [one["name"] for one in facts["sections"]] == ["s0", "s1", "s2"]
    assert len({one["digest"] for one in facts["sections"]}) == 3


@pytest.mark.parametrize("model", MODELS)
def test_a_planted_leak_changes_nothing(model, study):
    """The held-out section's counts decide neither genes, nor settings, nor the prediction."""
    held_out = study.pop("s3")
    first = model().fit(study, use_rep="X_image")
    before = first.predict(held_out)
    planted = held_out.copy()
    planted.X = csr_matrix(planted.X.toarray()[::-1, ::-1] * 50)
    second = model().fit(study, use_rep="X_image")
    after = second.predict(planted)
    key = f"predicted_{first.method}"
    assert first.genes == second.genes
    np.testing.assert_array_equal(before.layers[key], after.layers[key])
    assert not np.allclose(before.layers["measured_log1p_cp10k"], after.layers["measured_log1p_cp10k"])
    no_counts = held_out[:, :0].copy()
    np.testing.assert_array_equal(first.predict(no_counts).layers[key], before.layers[key])
    # and the test would notice: in training, the same counts change the model
    third = model().fit({**study, "s2": planted}, use_rep="X_image").predict(held_out)
    assert not np.array_equal(third.layers[key], before.layers[key])


def test_inputs_are_not_changed(study):
    copies = {name: adata.copy() for name, adata in study.items()}
    RidgeOnEmbedding().fit(study, use_rep="X_image").predict(study["s0"])
    for name, adata in study.items():
        assert (adata.X != copies[name].X).nnz == 0
        assert set(adata.obsm) == set(copies[name].obsm)
        assert str(adata.uns) == str(copies[name].uns)
        assert adata.obs.equals(copies[name].obs)


def test_one_anndata_a_list_and_a_dict_give_the_same_model(study):
    held_out = study.pop("s3")
    joint = hq.io.concat_sections(study)
    listed = [adata.copy() for adata in study.values()]
    for number, adata in enumerate(listed):
        adata.obs["section"] = f"s{number}"
    predictions = [
        RidgeOnEmbedding(RidgeConfig.plain()).fit(form, use_rep="X_image").predict(held_out).layers["predicted_ridge"]
        for form in (study, joint, listed)
    ]
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(predictions[0], predictions[2])


def test_shuffling_spots_shuffles_the_prediction(study):
    held_out = study.pop("s3")
    model = RidgeOnEmbedding(RidgeConfig(neighbours=True, smoothing=1)).fit(study, use_rep="X_image")
    order = np.random.default_rng(0).permutation(held_out.n_obs)
    np.testing.assert_allclose(
        model.predict(held_out[order].copy()).layers["predicted_ridge"],
        model.predict(held_out).layers["predicted_ridge"][order],
        rtol=1e-5,
    )


def test_patients_stay_together_and_a_single_one_gives_way_to_sections(study):
    for name, adata in study.items():
        adata.obs["patient"] = "p1" if name in ("s0", "s1") else "p2"
    facts = RidgeOnEmbedding(RidgeConfig.plain()).fit(study, use_rep="X_image")
    assert [one["group"] for one in facts.training_facts["sections"]] == ["p1", "p1", "p2", "p2"]
    assert (facts.predict(study["s0"]).var["n_folds"] == 2).all()
    del study["s2"], study["s3"]
    facts = RidgeOnEmbedding(RidgeConfig.plain()).fit(study, use_rep="X_image", patient_key="patient").training_facts
    assert [one["group"] for one in facts["sections"]] == ["s0", "s1"]


def test_genes_asked_for_are_the_panel_in_their_order(study):
    model = MeanExpression().fit(study, use_rep="X_image", genes=["gene03", "gene01"])
    assert model.genes == ["gene03", "gene01"]
    assert 2 <= MeanExpression().fit(study, use_rep="X_image", n_genes=2).n_genes <= 4


def test_embeddings_of_encoders_are_found(study):
    for adata in study.values():
        record(adata)
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(study)
    assert model.training_facts["encoders"]["X_image"]["digest"] == "d1"


def test_a_retrieval_model_says_that_it_holds_measured_expression(study, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="histoquilt"):
        NearestNeighbours().fit(study, use_rep="X_image").save(tmp_path / "knn")
        assert "measured expression of its training sections (s0, s1, s2, s3)" in caplog.text
    caplog.clear()
    RidgeOnEmbedding().fit(study, use_rep="X_image").save(tmp_path / "ridge")
    assert "measured expression" not in caplog.text
    facts = {name: json.loads((tmp_path / name / "provenance.json").read_text()) for name in ("knn", "ridge")}
    assert facts["knn"]["contains_measured_expression"] is True
    assert facts["ridge"]["contains_measured_expression"] is False


def test_other_tissue_is_flagged_and_warned_about(study):
    held_out = study.pop("s3")
    model = RidgeOnEmbedding().fit(study, use_rep="X_image")
    held_out.obsm["X_image"] = held_out.obsm["X_image"] + 20
    with pytest.warns(UserWarning, match="as a whole looks unlike the tissue"):
        predicted = model.predict(held_out)
    assert predicted.obs["out_of_distribution"].all()
    assert (predicted.obs["out_of_distribution_score"] > 1).all()


def test_measured_expression_is_left_out_where_the_panel_is_not_complete(study):
    held_out = study.pop("s3")[:, :-2].copy()
    model = RidgeOnEmbedding().fit(study, use_rep="X_image")
    with pytest.warns(UserWarning, match="measured 10 of the 12 predicted genes"):
        predicted = model.predict(held_out)
    assert "measured_log1p_cp10k" not in predicted.layers


def test_one_training_section_is_not_enough(study):
    with pytest.raises(ValueError, match=r"at least two sections, got 1 \('s0'\)"):
        RidgeOnEmbedding().fit({"s0": study["s0"]}, use_rep="X_image")


def test_a_missing_embedding_says_how_to_make_it(study):
    with pytest.raises(KeyError, match=r"'X_none' is not in obsm of section 's0' .*embed_patches"):
        RidgeOnEmbedding().fit(study, use_rep="X_none")
    with pytest.raises(KeyError, match="share no embedding made by"):
        RidgeOnEmbedding().fit(study)
    with pytest.raises(ValueError, match="at least one embedding, each once"):
        RidgeOnEmbedding().fit(study, use_rep=["X_image", "X_image"])


def test_embeddings_of_different_width_or_encoder_are_refused_in_training(study):
    study["s1"].obsm["X_wide"] = study["s1"].obsm["X_wide"][:, :2]
    with pytest.raises(ValueError, match="different widths: s0: 3, s1: 2"):
        RidgeOnEmbedding().fit(study, use_rep="X_wide")
    for name, adata in study.items():
        record(adata, digest="d2" if name == "s2" else "d1")
    with pytest.raises(ValueError, match=r"'s2' was made by encoder .*digest d2"):
        RidgeOnEmbedding().fit(study, use_rep="X_image")


def test_a_section_of_another_encoder_field_or_width_is_not_predicted(study):
    for adata in study.values():
        record(adata)
    held_out = study.pop("s3")
    model = RidgeOnEmbedding().fit(study, use_rep="X_image")
    record(held_out, mpp=0.25)  # another scanner, resampled: the encoder saw the same
    model.predict(held_out)
    record(held_out, digest="d2")
    with pytest.raises(ValueError, match=r"digest d2.*training sections.*Embed the section again"):
        model.predict(held_out)
    record(held_out, field_um=224.0)
    with pytest.raises(ValueError, match=r"fields of 224 um.*of 112 um"):
        model.predict(held_out)
    del held_out.uns["histoquilt"]["X_image"]
    with pytest.warns(UserWarning, match="no record of its encoder"):
        model.predict(held_out)
    record(held_out)
    held_out.obsm["X_image"] = held_out.obsm["X_image"][:, :4]
    with pytest.raises(ValueError, match="has 4 columns, the model was trained on 6"):
        model.predict(held_out)


def test_bad_embeddings_coordinates_and_patients(study):
    held_out = study.pop("s3")
    model = MeanExpression().fit(study, use_rep="X_image")
    with pytest.raises(ValueError, match=r"predict takes one section, obs\['section'\] names 3"):
        model.predict(hq.io.concat_sections(study))
    held_out.obsm["X_image"][3, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite values in 1 of 64 spots\. Embed the image again, or drop"):
        model.predict(held_out)
    with pytest.raises(ValueError, match=r"obsm\['X_image'\] of section 's3' holds NaN or infinite"):
        MeanExpression().fit({**study, "s3": held_out}, use_rep="X_image")
    held_out.obsm["X_image"][3, 1] = 0
    held_out.obsm["spatial"][5] = np.inf
    with pytest.raises(ValueError, match=r"1 of 64 spots have NaN or infinite coordinates.*'spot5'.*Drop them"):
        model.predict(held_out)
    with pytest.raises(ValueError, match="1 of 64 spots have NaN or infinite coordinates"):
        MeanExpression().fit({**study, "s3": held_out}, use_rep="X_image")
    study["s0"].obs["patient"] = "p"
    with pytest.raises(KeyError, match="Pass patient_key="):
        MeanExpression().fit(study, use_rep="X_image", patient_key="patient")
    for adata in study.values():
        adata.obs["patient"] = np.where(np.arange(64) < 3, "p", "q")
    with pytest.raises(ValueError, match="one patient for all spots"):
        MeanExpression().fit(study, use_rep="X_image", patient_key="patient")
    scattered = study["s1"].copy()
    scattered.obsm["spatial"] = np.random.default_rng(0).uniform(0, 900, (64, 2))
    scattered.uns.clear()
    with pytest.raises(ValueError, match="Cannot determine microns per pixel for section 'section'"):
        model.predict(scattered)


@pytest.mark.parametrize("model", [*MODELS, SpaHGC, MclSTExp])
def test_an_untrained_model_says_so_whatever_it_is_asked(model, study, tmp_path):
    uses = [
        lambda: model().predict(study["s0"]),
        lambda: model().genes,
        lambda: model().n_genes,
        lambda: model().learnt,
        lambda: model().keeps_expression,
        lambda: model().state(),
        lambda: model().save(tmp_path / "model"),
    ]
    if model is MclSTExp:
        uses.append(lambda: model().history)
    for use in uses:
        with pytest.raises(RuntimeError, match=rf"This {model.__name__} is not trained. Call .fit"):
            use()


def test_an_untrained_model_and_a_foreign_config():
    assert repr(RidgeOnEmbedding()) == "RidgeOnEmbedding(not trained)"
    with pytest.raises(TypeError, match="NearestNeighbours takes a NearestNeighboursConfig"):
        NearestNeighbours(RidgeConfig())


@pytest.mark.parametrize("model", [RidgeOnEmbedding, NearestNeighbours])
def test_files_that_do_not_belong_together_are_a_corrupted_folder(model, study, tmp_path):
    fitted = model().fit(study, use_rep="X_image")
    fitted.save(tmp_path / "model")
    genes = tmp_path / "model" / "genes.txt"
    genes.write_text("\n".join(genes.read_text().split("\n")[1:]))
    with pytest.raises(ValueError, match="is corrupted"):
        load(tmp_path / "model")


def test_a_section_of_training_is_recognised_by_its_embeddings(study, tmp_path):
    held_out = study.pop("s3")
    RidgeOnEmbedding(RidgeConfig.plain()).fit(study, use_rep="X_image").save(tmp_path / "model")
    model = load(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "seen_in_training" not in model.predict(held_out).uns["histoquilt"]["prediction"]
    again = study["s2"].copy()
    again.obs["section"] = "renamed"
    with pytest.warns(UserWarning, match=r"renamed: the model was trained on this section \(as 's2'\)"):
        predicted = model.predict(again)
    assert predicted.uns["histoquilt"]["prediction"]["seen_in_training"] == "s2"
