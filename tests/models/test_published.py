"""The papers' settings of SpaHGC and mclSTExp, from sections to a saved model and its prediction; one epoch."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from anndata import AnnData

from histoquilt import im
from histoquilt.datasets import toy_slide
from histoquilt.models import ExpressionModel, MclSTExp, MclSTExpConfig, SpaHGC, SpaHGCConfig, load

FROZEN = [SpaHGC(SpaHGCConfig.published()), MclSTExp(MclSTExpConfig.published("embedding"))]
TRAINED = [
    pytest.param(MclSTExp(MclSTExpConfig.published("cnn")), id="cnn"),
    pytest.param(MclSTExp(MclSTExpConfig.published(pretrained=False)), id="DenseNet121", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def pieces() -> dict[str, AnnData]:
    """A toy slide cut in four, with two fields of an embedding and the pixels around each spot."""
    adata, image = toy_slide(n_spots=120, n_genes=30, seed=0, mpp=2.0)
    im.embed_patches(adata, image, mpp=2.0, field_um=[112.0, 224.0], key_added="X_he", progress=False)
    im.cut_patches(adata, image, mpp=2.0, field_um=90.0, px=32)
    height = adata.obsm["spatial"][:, 1]
    part = np.digitize(height, np.quantile(height, [0.25, 0.5, 0.75]))
    return {f"s{number}": adata[part == number].copy() for number in range(4)}


def check_run(model: ExpressionModel, pieces: dict[str, AnnData], use_rep: list[str], folder) -> ExpressionModel:
    sections = dict(pieces)
    held_out = sections.pop("s3")
    short = replace(model.config, max_epochs=1)
    fitted = type(model)(short).fit(sections, use_rep=use_rep, seed=0)
    fitted.save(folder)
    loaded = load(folder)
    assert asdict(loaded.config) == asdict(model.config) | {"max_epochs": 1}
    before, after = (one.predict(held_out) for one in (fitted, loaded))
    layer = f"predicted_{model.method}"
    np.testing.assert_array_equal(before.layers[layer], after.layers[layer])
    assert before.layers[layer].std(axis=0).max() > 0
    assert np.isfinite(before.layers[f"relative_{model.method}"]).all()
    assert (before.var["n_folds"] == 3).all()
    assert fitted.training_facts["chosen"]["n_epochs"] == 1
    return fitted


@pytest.mark.filterwarnings("ignore:.*look unlike the tissue", "ignore:.*vary differently than in training")
@pytest.mark.parametrize("model", FROZEN, ids=["SpaHGC", "mclSTExp"])
def test_published_settings_train_on_the_first_of_several_embeddings(model, pieces, tmp_path) -> None:
    fitted = check_run(model, pieces, ["X_he_112um", "X_he_224um"], tmp_path / "model")
    assert list(fitted.training_facts["encoders"]) == ["X_he_112um"]


@pytest.mark.filterwarnings("ignore:.*look unlike the tissue", "ignore:.*vary differently than in training")
@pytest.mark.parametrize("model", TRAINED)
def test_published_settings_train_on_pixels(model, pieces, torchvision_operators: None, tmp_path) -> None:
    fitted = check_run(model, pieces, ["patches"], tmp_path / "model")
    chosen = fitted.training_facts["chosen"]
    assert (chosen["key"], chosen["k"], chosen["weighting"]) == ("spot", 200, "inverse_square")
    assert np.isfinite(chosen["loss"]).all()
