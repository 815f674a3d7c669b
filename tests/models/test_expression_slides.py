"""Prediction on bare slides, and on real tissue."""

import numpy as np
import pytest
from PIL import Image

import histoquilt as hq
from histoquilt.models import NearestNeighbours, RidgeConfig, RidgeOnEmbedding, load
from histoquilt.models.expression._inner_validation import gene_correlations


@pytest.fixture(scope="module")
def toy():
    """The halves of a toy section with embeddings of two fields, and its whole slide."""
    adata, image = hq.datasets.toy_slide(n_spots=160, n_genes=40, n_domains=3, seed=0, mpp=2.0)
    hq.im.embed_patches(adata, image, mpp=2.0, field_um=[112.0, 224.0], progress=False)
    left = adata.obsm["spatial"][:, 0] < np.median(adata.obsm["spatial"][:, 0])
    return {"left": adata[left].copy(), "right": adata[~left].copy()}, image


def test_a_bare_slide_becomes_spots_with_expression(toy, tmp_path):
    sections, image = toy
    reps = ["X_he_texture_112um", "X_he_texture_224um"]
    model = RidgeOnEmbedding(RidgeConfig(smoothing=0)).fit(sections, use_rep=reps)
    model.save(tmp_path / "model")
    predicted = load(tmp_path / "model").predict(image, mpp=2.0, pitch_um=200.0)
    assert predicted.n_vars == len(model.genes) == 40
    np.testing.assert_array_equal(predicted.X, predicted.layers["predicted_ridge"])
    assert predicted.uns["histoquilt"]["scale"] == {
        "X": "log1p_cp10k", "predicted_ridge": "log1p_cp10k", "relative_ridge": "log_relative"
    }  # fmt: skip
    assert set(reps) <= set(predicted.obsm)
    assert predicted.uns["histoquilt"]["prediction"]["stain_compared"]
    np.testing.assert_allclose(predicted.obsm["spatial_um"], 2.0 * predicted.obsm["spatial"])
    # the same slide with its spots given: one prediction for one place
    spots = hq.im.grid_spots(image, mpp=2.0, pitch_um=200.0)
    hq.im.embed_patches(spots, image, mpp=2.0, field_um=[112.0, 224.0], progress=False)
    np.testing.assert_allclose(model.predict(spots).layers["predicted_ridge"], predicted.X, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*look unlike the tissue")
@pytest.mark.parametrize("last_um", [112.0, 224.0])
def test_the_stain_of_a_bare_slide_is_measured_on_the_field_of_training(toy, last_um):
    sections, image = {name: adata.copy() for name, adata in toy[0].items()}, toy[1]
    fields = {"X_once": 112.0, "X_twice": 224.0}
    for adata in sections.values():
        for key, field_um in sorted(fields.items(), key=lambda one: one[1] == last_um):
            hq.im.embed_patches(adata, image, mpp=2.0, field_um=field_um, key_added=key, progress=False)
    model = RidgeOnEmbedding(RidgeConfig(smoothing=0)).fit(sections, use_rep=list(fields))
    predicted = model.predict(image, mpp=2.0, pitch_um=200.0)
    assert predicted.uns["histoquilt"]["X_stain"]["field_um"] == last_um
    assert predicted.uns["histoquilt"]["prediction"]["stain_compared"]


def test_spots_outside_the_image_are_warned_about_and_marked_as_unlike_training(toy):
    sections, image = {name: adata.copy() for name, adata in toy[0].items()}, toy[1]
    for adata in sections.values():
        hq.im.embed_patches(adata, image, mpp=2.0, field_um=112, progress=False)
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(sections, use_rep="X_he_texture")
    held_out = sections["left"].copy()
    held_out.obsm["spatial"][:3, 1] += 20_000
    with pytest.warns(UserWarning, match="3 of 79 spots lie outside the image"):
        hq.im.embed_patches(held_out, image, mpp=2.0, field_um=112, progress=False)
    outside = model.predict(held_out).obs["out_of_distribution"]
    assert outside[:3].all()
    assert not outside[3:].any()
    held_out.obsm["spatial"][:, 1] += 20_000
    with pytest.raises(ValueError, match=r"79 of 79 spots fall outside the image"):
        hq.im.embed_patches(held_out, image, mpp=2.0, field_um=112, progress=False)


def test_domains_of_a_slide_that_was_never_sequenced(toy):
    sections, image = toy
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(sections, use_rep="X_he_texture_112um")
    predicted = model.predict(image, mpp=2.0, pitch_um=100.0)
    hq.tl.spatial_domains(predicted, 3, progress=False)
    assert predicted.obs["domain"].nunique() == 3


def test_a_slide_needs_mpp_an_encoder_on_record_and_to_be_one(toy):
    sections, image = toy
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(sections, use_rep="X_he_texture_112um")
    with pytest.raises(ValueError, match=r"does not say how many microns a pixel is. Pass mpp="):
        model.predict(image)
    with pytest.raises(TypeError, match="Expected an AnnData, the path of a slide"):
        model.predict(3)
    bare = {name: adata.copy() for name, adata in sections.items()}
    for adata in bare.values():
        del adata.uns["histoquilt"]["X_he_texture_112um"]
    model = RidgeOnEmbedding(RidgeConfig.plain()).fit(bare, use_rep="X_he_texture_112um")
    with pytest.raises(ValueError, match="whose encoder is not recorded"):
        model.predict(image, mpp=2.0)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_her2st_patient_c_leave_one_section_out(data_dir):
    import anndata

    sections = {}
    for name in ("C2", "C3", "C4", "C5"):
        adata = anndata.read_h5ad(data_dir / "her2st" / f"{name}.h5ad")
        hq.io.record_coordinates(adata, "pixel", mpp=200 / 270)
        adata.obsm["X_colour"] = _colours(data_dir / "her2st" / f"{name}.jpg", adata.obsm["spatial"])
        sections[name] = adata
    found = {"ridge": [], "knn": []}
    for name in ("C2", "C4"):
        training = {other: adata for other, adata in sections.items() if other != name}
        for model in (RidgeOnEmbedding(), NearestNeighbours()):
            predicted = model.fit(training, use_rep="X_colour", n_genes=100).predict(sections[name])
            assert predicted.obs["out_of_distribution"].mean() < 0.1
            scores = gene_correlations(
                predicted.layers["measured_log1p_cp10k"], predicted.layers[f"predicted_{model.method}"]
            )
            found[model.method].append(np.median(scores))
            # genes said to be reliable are, on a section that did not choose them
            assert np.corrcoef(predicted.var["reliability"], scores)[0, 1] > 0.4
    # mean colours alone reached .181 in the data's own notes; random features .003
    assert min(map(np.mean, found.values())) > 0.15, found


def _colours(path, centres, field=224):
    """Mean and standard deviation of red, green and blue of the field around each spot, from a quarter-size image."""
    with Image.open(path) as image:
        width = image.width
        image.draft("RGB", (image.width // 4, image.height // 4))
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    half, centres = field * pixels.shape[1] / width / 2, centres * pixels.shape[1] / width
    rows = []
    for x, y in centres:
        patch = pixels[max(int(y - half), 0) : int(y + half), max(int(x - half), 0) : int(x + half)].reshape(-1, 3)
        rows.append(np.concatenate([patch.mean(axis=0), patch.std(axis=0)]))
    return np.array(rows, dtype=np.float32)


class Colours:
    """Mean colour of the quarters of a patch, or their square."""

    name, mpp, input_px, licence, citation, n_features = "colours", None, 16, "", "", 12

    def __init__(self, power):
        self.power, self.digest = power, f"digest-of-{power}-and-more"

    def embed(self, patches):
        quarters = patches.reshape(len(patches), 2, 8, 2, 8, 3).mean(axis=(2, 4)) / 255
        return (quarters**self.power).reshape(len(patches), 12).astype(np.float32)


def test_a_slide_is_embedded_by_the_encoders_of_training_and_by_no_others(toy):
    sections, image = {name: adata.copy() for name, adata in toy[0].items()}, toy[1]
    encoders = ["he_texture", Colours(1), Colours(2)]
    for adata in sections.values():
        hq.im.embed_patches(adata, image, mpp=2.0, encoder=encoders, field_um=[112.0, 224.0], progress=False)
    reps = [key for key in sections["left"].obsm if key.endswith("um") and key.startswith("X_")]
    assert len(reps) == 6
    model = RidgeOnEmbedding(RidgeConfig(smoothing=0)).fit(sections, use_rep=reps)
    assert list(model.training_facts["encoders"]) == reps
    # he_texture is found by its name
    predicted = model.predict(image, mpp=2.0, pitch_um=200.0, encoder=encoders[:0:-1])
    spots = hq.im.grid_spots(image, mpp=2.0, pitch_um=200.0)
    hq.im.embed_patches(spots, image, mpp=2.0, encoder=encoders, field_um=[112.0, 224.0], progress=False)
    np.testing.assert_allclose(model.predict(spots).layers["predicted_ridge"], predicted.X, rtol=1e-4, atol=1e-4)
    with pytest.raises(
        ValueError, match=r"trained with the encoder he_texture .* and colours .* another one .*digest-of-3"
    ):
        model.predict(image, mpp=2.0, pitch_um=200.0, encoder=Colours(3))
    with pytest.raises(ValueError, match="the model's encoder colours: Unknown encoder 'colours'"):
        model.predict(image, mpp=2.0, pitch_um=200.0)
    other = [Colours(1), Colours(3), "he_texture"]
    other_keys = sorted({key.removesuffix("_112um").removesuffix("_224um") for key in reps}, reverse=True)
    hq.im.embed_patches(
        spots, image, mpp=2.0, encoder=other, field_um=[112.0, 224.0], key_added=[*other_keys[1:], other_keys[0]],
        progress=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match="was made by encoder 'colours'"):
        model.predict(spots)
    del spots.obsm[reps[2]]
    with pytest.raises(KeyError, match=reps[2]):
        model.predict(spots)
