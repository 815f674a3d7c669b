"""A section of another stain is told from those of training, even where its embedding looks familiar."""

import logging
import re

import numpy as np
import pytest

import histoquilt as hq
from histoquilt.models import RidgeConfig, RidgeOnEmbedding, load
from histoquilt.models.expression.unlike._stain import StainDistribution

PATCHES = (112.0, 1.0)
KEY = "share_out_of_distribution"


def _stains(n_sections=4, n_spots=80):
    """Three measurements that vary together, a fourth that is their sum, and a fifth that never varies."""
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.2, (n_sections, n_spots, 1))
    three = 0.8 + common + rng.normal(0, 0.02, (n_sections, n_spots, 3)) + rng.normal(0, 0.02, (n_sections, 1, 3))
    table = np.concatenate([three, three.sum(axis=2, keepdims=True), np.ones((n_sections, n_spots, 1))], axis=2)
    return list(table.astype(np.float32))


def give_stain(study, **changes):
    for adata, stain in zip(study.values(), _stains(len(study), 64), strict=True):
        adata.obsm["X_stain"] = stain
        adata.uns["histoquilt"]["X_stain"] = {"field_um": 112.0, "input_mpp": 1.0, **changes}


@pytest.fixture
def stained(study):
    give_stain(study)
    return study


def test_held_out_stain_is_inside_and_another_hue_outside():
    *train, held_out = _stains()
    fitted = StainDistribution.fit(train, ["a", "b", "c"], PATCHES)
    spots, section = fitted.score(held_out)
    assert (spots > 1).mean() < 0.1
    assert section < 1
    darker = held_out + 0.2 * np.array([1, 1, 1, 3, 0])  # along what varies in training: one standard deviation
    assert fitted.score(darker)[1] < 1
    redder = held_out + 0.2 * np.array([1, -1, 0, 0, 0])  # as far, across it
    assert fitted.score(redder)[1] > 1.5
    held_out[:5] += 0.2 * np.array([1, -1, 0, 0, 0])
    spots, section = fitted.score(held_out)
    assert (spots[:5] > 1).all()
    assert (spots[5:] > 1).mean() < 0.1
    assert section < 1


def test_spots_at_the_edge_of_a_bare_slide_are_not_called_otherwise_stained(stained):
    held_out = stained.pop("s3")
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(stained, use_rep="X_image")
    held_out.obsm["X_stain"][:20] *= 0.6  # glass in 40 % of the patch
    with pytest.warns(UserWarning, match="by the stain"):
        assert model.predict(held_out).uns["histoquilt"]["prediction"][f"{KEY}_by_stain"] > 0.25
    held_out.obs["tissue_fraction"] = np.where(np.arange(64) < 20, 0.6, 1.0).astype("f4")
    predicted = model.predict(held_out)
    assert predicted.uns["histoquilt"]["prediction"][f"{KEY}_by_stain"] < 0.1
    held_out.obsm["X_stain"][:, 0] += 0.3  # all of it, also where there is nothing but tissue
    held_out.obsm["X_stain"][:, 1] -= 0.3
    with pytest.warns(UserWarning, match="as a whole looks unlike the tissue .* by the stain"):
        assert model.predict(held_out).obs["out_of_distribution"].all()


def test_sections_of_one_stain_without_any_spread_give_finite_limits():
    one = np.full((20, 4), 0.5)
    fitted = StainDistribution.fit([one, one.copy()], ["a", "b"], PATCHES)
    assert fitted.score(one) == (pytest.approx(np.zeros(20)), 0.0)
    assert fitted.score(one + 0.1)[1] > 1
    again = StainDistribution.restore(fitted.arrays())
    np.testing.assert_array_equal(again.distance(one + 0.1), fitted.distance(one + 0.1))


def test_a_prediction_says_that_it_is_the_stain_and_the_model_keeps_it(stained, tmp_path):
    held_out = stained.pop("s3")
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(stained, use_rep="X_image")
    said = model.predict(held_out).uns["histoquilt"]["prediction"]
    assert said["stain_compared"]
    assert said[f"{KEY}_by_stain"] < 0.1
    held_out.obsm["X_stain"][:, 0] += 0.3
    held_out.obsm["X_stain"][:, 1] -= 0.3
    words = r"as a whole looks unlike the tissue .* by the stain \(100% of the spots; .*stained, scanned or exposed"
    with pytest.warns(UserWarning, match=words):
        predicted = model.predict(held_out)
    said = predicted.uns["histoquilt"]["prediction"]
    assert (said[KEY], said[f"{KEY}_by_stain"]) == (1.0, 1.0)
    assert said[f"{KEY}_by_embedding"] < 0.1
    assert predicted.obs["out_of_distribution"].all()
    assert (predicted.obs["out_of_distribution_score"] > 1).mean() > 0.9
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="by the stain"):
        again = load(tmp_path / "model").predict(held_out)
    assert again.obs.equals(predicted.obs)
    assert again.uns["histoquilt"]["prediction"] == said
    again.write_h5ad(tmp_path / "again.h5ad")


def test_a_spot_is_outside_by_either(stained):
    held_out = stained.pop("s3")
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(stained, use_rep="X_image")
    before = model.predict(held_out).obs["out_of_distribution"]
    held_out.obsm["X_stain"][:2, 0] += 1
    held_out.obsm["X_image"][2:4] += 50
    after = model.predict(held_out)
    assert after.obs["out_of_distribution"][:4].all()
    assert (after.obs["out_of_distribution"][4:] == before[4:]).all()
    said = after.uns["histoquilt"]["prediction"]
    assert said[KEY] >= max(said[f"{KEY}_by_stain"], said[f"{KEY}_by_embedding"]) > 0
    held_out.obsm["X_stain"][:, 0] += 1
    held_out.obsm["X_image"] = held_out.obsm["X_image"] + 50
    with pytest.warns(UserWarning, match=r"by the embedding \(100% of the spots\) and by the stain \(100%\)"):
        model.predict(held_out)


@pytest.mark.parametrize("lacking", ["column", "record", "other field"])
def test_without_stain_in_all_training_sections_embeddings_alone_decide(stained, lacking, caplog):
    if lacking == "column":
        del stained["s1"].obsm["X_stain"]
    elif lacking == "record":
        del stained["s1"].uns["histoquilt"]["X_stain"]
    else:
        stained["s1"].uns["histoquilt"]["X_stain"]["field_um"] = 224.0
    held_out = stained.pop("s3")
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        model = RidgeOnEmbedding(RidgeConfig.plain()).fit(stained, use_rep="X_image")
    assert "No stain is compared" in caplog.text
    said = model.predict(held_out).uns["histoquilt"]["prediction"]
    assert not said["stain_compared"]
    assert f"{KEY}_by_stain" not in said


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda adata: adata.obsm.pop("X_stain"), "stain is not compared with training"),
        (lambda adata: adata.uns["histoquilt"]["X_stain"].update(field_um=224.0), "fields of 224 um .*not compared"),
        (lambda adata: adata.obsm.update(X_stain=np.ones((64, 3))), "other columns than in training"),
    ],
    ids=["none", "other field", "other columns"],
)
def test_a_section_whose_stain_cannot_be_compared_is_judged_by_its_embedding(stained, spoil, words, caplog):
    held_out = stained.pop("s3")
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(stained, use_rep="X_image")
    spoil(held_out)
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        predicted = model.predict(held_out)
    assert any(re.search(words, record.getMessage()) for record in caplog.records)
    assert not predicted.uns["histoquilt"]["prediction"]["stain_compared"]
    held_out.obsm["X_image"] = held_out.obsm["X_image"] + 50
    with pytest.warns(UserWarning, match="by the embedding: another organ, stain, scanner or focus"):
        model.predict(held_out)


def test_stain_with_nan_is_refused(stained):
    held_out = stained.pop("s3")
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(stained, use_rep="X_image")
    held_out.obsm["X_stain"][3] = np.nan
    with pytest.raises(ValueError, match=r"obsm\['X_stain'\] of section 'section' holds NaN .* 1 of 64 spots"):
        model.predict(held_out)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_her2st_c5_is_familiar_and_the_same_image_in_another_hue_is_not(her2st_half):
    sections, images, mpp = {}, {}, 2 * 200 / 270
    for name in ("C2", "C3", "C4", "C5"):
        adata, images[name] = her2st_half(name)
        sections[name] = adata
        hq.io.record_coordinates(adata, "pixel", mpp=mpp)
        hq.im.embed_patches(adata, images[name], mpp=mpp, field_um=200.0, progress=False)
    held_out = sections.pop("C5")
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(sections, n_genes=20)
    said = model.predict(held_out).uns["histoquilt"]["prediction"]
    assert said[f"{KEY}_by_stain"] < 0.1
    less_red, more_contrast = images["C5"].copy(), images["C5"]
    less_red[..., 0] = (0.85 * less_red[..., 0]).astype(np.uint8)
    grey = np.clip(1.3 * (np.arange(256) - 128.0) + 128, 0, 255).astype(np.uint8)
    for changed in (less_red, grey[more_contrast]):
        hq.im.embed_patches(held_out, changed, mpp=mpp, field_um=200.0, progress=False)
        with pytest.warns(UserWarning, match=r"by the stain \(100%"):
            said = model.predict(held_out).uns["histoquilt"]["prediction"]
        assert said[f"{KEY}_by_stain"] == 1.0
