"""``histoquilt predict``: sections and bare slides, and one clear line for every likely mistake."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histoquilt import io, models
from histoquilt.cli import run
from histoquilt.models import SpatialFactors


def predict(*arguments):
    return run(["predict", *map(str, arguments), "-q"])


def test_a_bare_slide(study_folder, ridge_model, tmp_path):
    out = tmp_path / "out"
    assert predict(ridge_model, study_folder / "he.png", "--mpp", 2, "--pitch-um", 200, "--out", out) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"he.h5ad", "he.csv", "report.html", "run.json"}
    adata = ad.read_h5ad(out / "he.h5ad")
    table = pd.read_csv(out / "he.csv")
    model = models.load(ridge_model)
    assert table.columns.tolist() == ["spot", "x_um", "y_um", "out_of_distribution", *model.genes]
    assert table["spot"].tolist() == adata.obs_names.tolist()
    np.testing.assert_allclose(table[model.genes], adata.layers["predicted_ridge"], rtol=1e-3, atol=1e-4)
    steps = np.unique(np.diff(np.unique(table["x_um"])))
    assert steps.min() == pytest.approx(200)
    assert adata.uns["histoquilt"]["scale"]["X"] == "log1p_cp10k"
    record = json.loads((out / "run.json").read_text())
    assert record["outputs"] == ["he.csv", "he.h5ad", "report.html"]
    assert record["n_spots"] == {"he": adata.n_obs}
    assert record["method"] == "ridge"
    # the training sections lie on this slide
    assert adata.uns["histoquilt"]["prediction"]["seen_in_training"] in ("s0", "s1", "s2")
    assert any("the model was trained on this file" in warning for warning in record["warnings"])
    assert "Seen in training." in (out / "report.html").read_text()
    # the spots lie on a small picture of the slide
    assert adata.uns["spatial"]["he"]["images"]["lowres"].dtype == np.uint8
    assert "data:image/" in (out / "report.html").read_text()


def test_a_section_with_its_image_is_predicted_as_the_library_does(study_folder, ridge_model, tmp_path):
    out = tmp_path / "out"
    section = study_folder / "s1.h5ad"
    assert predict(ridge_model, section, "--image", study_folder / "he.png", "--out", out) == 0
    found = ad.read_h5ad(out / "s1.h5ad")
    adata = io.read_section(section)
    io.attach_image(adata, study_folder / "he.png", mpp=2)
    from histoquilt import im

    with io.open_image(adata) as slide:
        im.embed_patches(adata, slide, mpp=2, field_um=[100.0], key_added="X_he_texture", progress=False)
    expected = models.load(ridge_model).predict(adata)
    np.testing.assert_allclose(found.layers["predicted_ridge"], expected.layers["predicted_ridge"], rtol=1e-5)
    assert "measured_log1p_cp10k" in found.layers
    assert list(found.uns["spatial"]) == ["he"]


def test_all_sections_of_a_table(study_folder, ridge_model, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["predict", str(ridge_model), str(study_folder / "samples.csv"), "--out", str(out)]) == 0
    assert {path.name for path in out.glob("*.h5ad")} == {"s0.h5ad", "s1.h5ad", "s2.h5ad"}
    assert {path.name for path in out.glob("*.csv")} == {"s0.csv", "s1.csv", "s2.csv"}
    assert "s0: 80 spots, 40 genes, " in capsys.readouterr().out


def test_sections_of_a_table_need_not_share_genes(study_folder, ridge_model, tmp_path):
    section = ad.read_h5ad(study_folder / "s1.h5ad")
    section.var_names = [f"GENE{i}" for i in range(section.n_vars)]
    section.write_h5ad(study_folder / "s1.h5ad")
    assert predict(ridge_model, study_folder / "samples.csv", "--out", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == {"s0.csv", "s1.csv", "s2.csv"}


def test_domains_of_a_slide_that_was_never_sequenced(study_folder, ridge_model, tmp_path):
    from histoquilt import tl

    assert predict(ridge_model, study_folder / "he.png", "--mpp", 2, "--out", tmp_path / "out") == 0
    adata = ad.read_h5ad(tmp_path / "out" / "he.h5ad")
    tl.spatial_domains(adata, 3, progress=False)
    assert adata.obs["domain"].nunique() == 3


def test_a_slide_that_does_not_say_its_scale(refused, study_folder, ridge_model, tmp_path, monkeypatch):
    loaded = "histoquilt.jobs.expression._predict.equipment"
    monkeypatch.setattr(loaded, lambda *_: pytest.fail("the model was loaded first"))
    told = refused("predict", ridge_model, study_folder / "he.png", "--out", tmp_path / "out")
    assert "microns a pixel is. Pass --mpp" in told
    absurd = refused("predict", ridge_model, study_folder / "he.png", "--mpp", "4000", "--out", tmp_path / "out")
    assert "mpp" in absurd
    assert "--mpp must be positive" in refused(
        "predict", ridge_model, study_folder / "he.png", "--mpp", "0", "--out", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_inputs_that_cannot_be_used(refused, study_folder, ridge_model, tmp_path):
    out = ["--out", tmp_path / "out"]
    image = study_folder / "he.png"
    assert "does not exist" in refused("predict", ridge_model, study_folder / "gone.svs", *out)
    assert "it has no image" in refused("predict", ridge_model, study_folder / "s0.h5ad", *out)
    assert "there is no image" in refused("predict", ridge_model, study_folder / "s0.h5ad", "--image", "gone.png", *out)
    assert "--image is the image of one section" in refused("predict", ridge_model, image, "--image", image, *out)
    (study_folder / "notes.png").write_text("no image")
    told = refused("predict", ridge_model, image, study_folder / "notes.png", "--mpp", 2, *out)
    assert "1 of 2 inputs cannot be used" in told
    assert "notes.png" in told
    Image.new("RGB", (400, 400), "white").save(study_folder / "glass.png")
    assert "tissue" in refused("predict", ridge_model, study_folder / "glass.png", "--mpp", 2, *out).lower()
    assert not (tmp_path / "out").exists()


def test_skip_bad_goes_on(study_folder, ridge_model, tmp_path):
    (study_folder / "notes.png").write_text("no image")
    out = tmp_path / "out"
    inputs = [study_folder / "he.png", study_folder / "notes.png"]
    assert predict(ridge_model, *inputs, "--mpp", 2, "--skip-bad", "--out", out) == 0
    assert list(json.loads((out / "run.json").read_text())["skipped"]) == ["notes"]
    assert not (out / "notes.h5ad").exists()


def test_models_that_cannot_be_used(refused, study_folder, ridge_model, section, tmp_path):
    rest = [study_folder / "he.png", "--mpp", 2, "--out", tmp_path / "out"]
    assert "there is no model folder" in refused("predict", tmp_path / "none", *rest)
    slide = study_folder / "he.png"
    for wrong in (slide, study_folder / "s1.h5ad", study_folder):
        told = refused("predict", wrong, ridge_model, "--out", tmp_path / "out")
        assert f"{wrong} is not a model folder, but the input {ridge_model} is. Exchange them" in told
        told = refused("predict", wrong, slide, "--out", tmp_path / "out")
        assert f"{wrong} is not a model folder: it has no config.json and provenance.json" in told
    told = refused("predict", ridge_model, slide, ridge_model, "--mpp", 2, "--out", tmp_path / "out")
    assert f"the input {ridge_model} is a model folder" in told
    SpatialFactors().fit(section).save(tmp_path / "domains")
    assert "which does not predict expression" in refused("predict", tmp_path / "domains", *rest)
    (ridge_model / "arrays.npz").write_bytes(b"broken")
    assert "corrupted" in refused("predict", ridge_model, *rest)
    (ridge_model / "genes.txt").unlink()
    assert "genes.txt missing" in refused("predict", ridge_model, *rest)


def test_another_encoder_is_refused(refused, study_folder, ridge_model, tmp_path):
    out = ["--mpp", 2, "--out", tmp_path / "out"]
    assert "Did you mean" in refused("predict", ridge_model, study_folder / "he.png", "--encoder", "he_textures", *out)
    config = ridge_model / "config.json"
    text = config.read_text()
    digest = models.load(ridge_model).fitted.inputs.records[0]["digest"]
    config.write_text(text.replace(digest, "0" * len(digest)))
    told = refused("predict", ridge_model, study_folder / "he.png", *out)
    assert "is another one" in told
    assert "--encoder" in told


def _trained_on(study_folder, out, describe, **arguments):
    sections = {}
    for name in ("s0", "s1"):
        adata = io.read_section(study_folder / f"{name}.h5ad")
        io.attach_image(adata, study_folder / "he.png", mpp=2)
        describe(adata)
        sections[name] = adata
    config = models.RidgeConfig.plain()
    models.RidgeOnEmbedding(config).fit(sections, **arguments).save(out)
    return out


def test_a_model_that_reads_pixels_predicts_sections_and_bare_slides(study_folder, tmp_path, capsys):
    from histoquilt import im

    def cut(adata):
        with io.open_image(adata) as slide:
            im.cut_patches(adata, slide, mpp=2, field_um=100.0, px=8)

    model = _trained_on(study_folder, tmp_path / "pixels", cut, use_rep="patches")
    slide = study_folder / "he.png"
    assert predict(model, slide, "--mpp", 2, "--pitch-um", 200, "--out", tmp_path / "slide") == 0
    assert predict(model, study_folder / "s2.h5ad", "--image", slide, "--out", tmp_path / "section") == 0
    assert ad.read_h5ad(tmp_path / "section" / "s2.h5ad").layers["predicted_ridge"].std() > 0
    capsys.readouterr()
    assert predict(model, slide, "--mpp", 2, "--encoder", "he_texture", "--out", tmp_path / "third") == 2
    assert "reads pixels itself" in capsys.readouterr().err


def test_a_bare_slide_needs_a_model_whose_encoder_is_known(study_folder, tmp_path, capsys):
    def invent(adata):
        adata.obsm["X_own"] = np.asarray(adata.obsm["spatial"], dtype=np.float32)

    model = _trained_on(study_folder, tmp_path / "own", invent, use_rep="X_own")
    assert predict(model, study_folder / "he.png", "--mpp", 2, "--out", tmp_path / "out") == 2
    assert "encoder is not recorded" in capsys.readouterr().err
