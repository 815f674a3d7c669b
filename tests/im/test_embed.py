"""Embeddings of spots: what is written, what is kept on disk, and what is refused."""

import hashlib
import logging
import threading

import anndata as ad
import numpy as np
import pytest

import histoquilt as hq
from histoquilt.im._embed import short_name, turn
from histoquilt.im._read_ahead import read_ahead


class MeanColour:
    """Mean colour of the four quarters of a patch: 12 numbers, which turning a patch permutes."""

    name = "mean_colour"
    n_features = 12
    input_px = 16
    licence = ""
    citation = ""

    def __init__(self, mpp: float | None = None, digest: str = "a") -> None:
        self.mpp = mpp
        self.digest = hashlib.sha256(digest.encode()).hexdigest()
        self.n_embedded = 0
        self.largest_batch = 0

    def embed(self, patches: np.ndarray) -> np.ndarray:
        assert patches.dtype == np.uint8
        assert patches.shape[1:] == (16, 16, 3)
        self.n_embedded += len(patches)
        self.largest_batch = max(self.largest_batch, len(patches))
        quarters = patches.reshape(len(patches), 2, 8, 2, 8, 3).mean(axis=(2, 4))
        return quarters.reshape(len(patches), 12).astype(np.float32)


@pytest.fixture
def mean_colour() -> type[MeanColour]:
    return MeanColour


@pytest.fixture(scope="module")
def toy():
    return hq.datasets.toy_slide(100, 40, seed=0, mpp=2.0)


@pytest.fixture
def section(toy):
    return toy[0].copy(), toy[1]


def test_the_contract(section, mean_colour):
    adata, image = section
    encoder = mean_colour()
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=encoder, field_um=64)
    embedding = adata.obsm["X_mean_colour"]
    assert embedding.dtype == np.float32
    patches = hq.im.extract_patches(image, adata.obsm["spatial"], mpp=2.0, field_um=64, out_px=16)
    np.testing.assert_array_equal(embedding, encoder.embed(patches))
    record = adata.uns["histoquilt"]["X_mean_colour"]
    assert record.pop("histoquilt") == hq.__version__
    assert record == {
        "encoder": "mean_colour", "digest": encoder.digest, "mpp": 2.0, "image_scale": 1.0, "field_um": 64.0,
        "input_mpp": 4.0, "n_padded": 0, "licence": "",
    }  # fmt: skip


def test_it_can_be_written_and_read(section, mean_colour, tmp_path):
    adata, image = section
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=mean_colour(), field_um=64, key_added="X_img")
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert ad.read_h5ad(tmp_path / "a.h5ad").uns["histoquilt"]["X_img"]["field_um"] == 64.0


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_batch_size_changes_nothing(section, mean_colour, batch_size):
    adata, image = section
    encoder = mean_colour()
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=mean_colour(), field_um=64, key_added="whole")
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=encoder, field_um=64, batch_size=batch_size, key_added="parts")
    np.testing.assert_array_equal(adata.obsm["whole"], adata.obsm["parts"])
    assert encoder.largest_batch == min(batch_size, 100)


def test_shuffled_spots_shuffle_rows(section, mean_colour):
    adata, image = section
    order = np.random.default_rng(0).permutation(adata.n_obs)
    shuffled = adata[order].copy()
    for each in (adata, shuffled):
        hq.im.embed_patches(each, image, mpp=2.0, encoder=mean_colour(), field_um=64)
    np.testing.assert_array_equal(adata.obsm["X_mean_colour"][order], shuffled.obsm["X_mean_colour"])


def test_several_fields_are_written_apart(section, mean_colour):
    adata, image = section
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=mean_colour(), field_um=[56, 112.5, 1000], key_added="X_m")
    assert [key for key in adata.obsm if key.startswith("X_m")] == ["X_m_56um", "X_m_112.5um", "X_m_1000um"]
    assert adata.uns["histoquilt"]["X_m_112.5um"]["field_um"] == 112.5
    assert adata.uns["histoquilt"]["X_m_1000um"]["n_padded"] > 0
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=mean_colour(), field_um=56, key_added="alone")
    assert np.abs(adata.obsm["alone"] - adata.obsm["X_m_56um"]).max() <= 1


def test_a_smaller_image_of_the_same_section_gives_nearly_the_same(section, mean_colour):
    adata, image = section
    small = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    small = small.reshape(small.shape[0] // 2, 2, small.shape[1] // 2, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=mean_colour(), field_um=64, key_added="full")
    hq.im.embed_patches(adata, small, mpp=2.0, image_scale=2.0, encoder=mean_colour(), field_um=64, key_added="half")
    assert np.abs(adata.obsm["full"] - adata.obsm["half"]).mean() < 1.5


def test_the_default_fields_are_those_of_the_spots_on_a_smaller_image_too(section, mean_colour):
    adata, image = section
    for picture, scale, key in ((image, 1.0, "full"), (image[::2, ::2], 2.0, "half")):
        hq.im.embed_patches(adata, picture, mpp=2.0, image_scale=scale, encoder=mean_colour(), key_added=key)
    fields = {key: [name.split("_")[1] for name in adata.obsm if name.startswith(key)] for key in ("full", "half")}
    assert len(fields["full"]) == 4
    assert fields["full"] == fields["half"]


# --- the stain ---


def test_the_stain_is_measured_on_the_first_field(section, mean_colour, tmp_path):
    adata, image = section
    arguments = {"mpp": 2.0, "field_um": [64, 128], "batch_size": 33, "cache": tmp_path / "cache"}
    hq.im.embed_patches(adata, image, encoder=mean_colour(), **arguments)
    first = adata.obsm["X_stain"]
    expected, larger = (
        hq.im.stain_statistics(hq.im.extract_patches(image, adata.obsm["spatial"], mpp=2.0, field_um=field, out_px=16))
        for field in (64, 128)
    )
    np.testing.assert_allclose(first, expected, atol=0.01)  # a grey level: it was cut out of a larger region
    assert np.abs(first - larger.to_numpy()).max() > 0.1
    record = adata.uns["histoquilt"]["X_stain"]
    assert list(record["columns"]) == list(expected.columns)
    assert (record["field_um"], record["input_mpp"]) == (64.0, 4.0)
    again = mean_colour()
    hq.im.embed_patches(adata, image, encoder=again, **arguments)
    assert again.n_embedded == 0  # the embedding is remembered, the stain of the pixels is there all the same
    np.testing.assert_array_equal(adata.obsm["X_stain"], first)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert list(back.uns["histoquilt"]["X_stain"]["columns"]) == list(expected.columns)


# --- the cache ---


def test_what_was_computed_is_found_again(section, mean_colour, tmp_path):
    adata, image = section
    first, again = mean_colour(), mean_colour()
    arguments = {"mpp": 2.0, "field_um": 64, "batch_size": 16, "cache": tmp_path / "cache"}
    hq.im.embed_patches(adata, image, encoder=first, key_added="first", **arguments)
    hq.im.embed_patches(adata, image, encoder=again, key_added="again", **arguments)
    assert (first.n_embedded, again.n_embedded) == (100, 0)
    np.testing.assert_array_equal(adata.obsm["first"], adata.obsm["again"])
    assert {path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()} == {".npz"}


@pytest.mark.parametrize("changed", ["pixel", "spot", "field_um", "mpp", "encoder"])
def test_any_change_of_what_decides_it_is_computed_anew(section, mean_colour, tmp_path, changed):
    adata, image = section
    arguments = {"mpp": 2.0, "field_um": 64, "cache": tmp_path, "batch_size": 100}
    hq.im.embed_patches(adata, image, encoder=mean_colour(), **arguments)
    encoder = mean_colour(digest="b" if changed == "encoder" else "a")
    if changed == "pixel":
        image = image.copy()
        x, y = adata.obsm["spatial"][0].astype(int)
        image[y, x] = 255 - image[y, x]
    if changed == "spot":
        adata.obsm["spatial"][5] += 3
    if changed in arguments:
        arguments[changed] *= 1.5
    hq.im.embed_patches(adata, image, encoder=encoder, key_added="changed", **arguments)
    assert encoder.n_embedded == 100
    fresh = mean_colour()
    hq.im.embed_patches(adata, image, encoder=fresh, key_added="fresh", mpp=arguments["mpp"],
                        field_um=arguments["field_um"])  # fmt: skip
    np.testing.assert_array_equal(adata.obsm["changed"], adata.obsm["fresh"])


@pytest.mark.parametrize("damage", ["truncated", "pickle", "wrong width"])
def test_a_damaged_entry_is_computed_again(section, mean_colour, tmp_path, caplog, damage):
    adata, image = section
    arguments = {"mpp": 2.0, "field_um": 64, "cache": tmp_path, "batch_size": 100}
    hq.im.embed_patches(adata, image, encoder=mean_colour(), **arguments)
    [entry] = [path for path in tmp_path.rglob("*.npz")]
    if damage == "truncated":
        entry.write_bytes(entry.read_bytes()[:100])
    elif damage == "pickle":
        np.savez(entry, embedding=np.array([{"a": 1}], dtype=object))
    else:
        np.savez(entry, embedding=np.zeros((100, 3), dtype=np.float32))
    encoder = mean_colour()
    with caplog.at_level(logging.WARNING, logger="histoquilt"):
        hq.im.embed_patches(adata, image, encoder=encoder, key_added="again", **arguments)
    assert "it is computed again" in caplog.text
    assert encoder.n_embedded == 100
    np.testing.assert_array_equal(adata.obsm["again"], adata.obsm["X_mean_colour"])
    last = mean_colour()
    hq.im.embed_patches(adata, image, encoder=last, **arguments)
    assert last.n_embedded == 0


def test_a_cache_that_is_a_file_is_refused(section, mean_colour, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file"):
        hq.im.embed_patches(*section, mpp=2.0, encoder=mean_colour(), field_um=64, cache=tmp_path / "file")


# --- views ---


def test_views_are_the_eight_symmetries(section, mean_colour):
    adata, image = section
    views = hq.im.embed_views(adata, image, mpp=2.0, encoder=mean_colour(), field_um=64)
    assert views.shape == (100, 8, 12)
    assert views.dtype == np.float32
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=mean_colour(), field_um=64)
    np.testing.assert_array_equal(views[:, 0], adata.obsm["X_mean_colour"])
    quarters = views.reshape(100, 8, 2, 2, 3)  # turning a patch turns its quarters
    np.testing.assert_allclose(quarters[:, 1], np.rot90(quarters[:, 0], axes=(1, 2)))
    np.testing.assert_allclose(quarters[:, 4], quarters[:, 0, :, ::-1])
    assert len({view.tobytes() for view in views.transpose(1, 0, 2)}) == 8


def test_turning_by_hand():
    patch = np.array([[[[1] * 3, [2] * 3], [[3] * 3, [4] * 3]]], dtype=np.uint8)
    turned = [turn(patch, view)[0, ..., 0].ravel().tolist() for view in range(8)]
    assert turned[:4] == [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]
    assert turned[4] == [2, 1, 4, 3]


def test_views_share_the_cache(section, mean_colour, tmp_path):
    adata, image = section
    arguments = {"mpp": 2.0, "field_um": 64, "cache": tmp_path}
    hq.im.embed_patches(adata, image, encoder=mean_colour(), **arguments)
    first, again = mean_colour(), mean_colour()
    views = hq.im.embed_views(adata, image, encoder=first, n_views=3, **arguments)
    assert first.n_embedded == 2 * 100  # view 0 was there
    np.testing.assert_array_equal(views, hq.im.embed_views(adata, image, encoder=again, n_views=3, **arguments))
    assert again.n_embedded == 0


@pytest.mark.parametrize("n_views", [0, 9, 2.0, True])
def test_a_square_has_eight_views(section, mean_colour, n_views):
    with pytest.raises(ValueError, match="from 1 to 8"):
        hq.im.embed_views(*section, mpp=2.0, encoder=mean_colour(), field_um=64, n_views=n_views)


# --- what is refused and warned of ---


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"mpp": -1.0}, "mpp must be positive"),
        ({"mpp": 500.0}, "mpp is 500 microns"),
        ({"image_scale": 0.0}, "image_scale must be positive"),
        ({"field_um": []}, "field_um is empty"),
        ({"field_um": [64, 64]}, "names a field twice"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_absurd_numbers_are_refused(section, mean_colour, changed, match):
    with pytest.raises(ValueError, match=match):
        hq.im.embed_patches(*section, **({"mpp": 2.0, "encoder": mean_colour(), "field_um": 64} | changed))


def test_missing_coordinates_are_named(section, mean_colour):
    with pytest.raises(KeyError, match="spatial_key"):
        hq.im.embed_patches(*section, mpp=2.0, encoder=mean_colour(), spatial_key="nowhere")


def test_spots_outside_name_the_scale_that_would_fit(section, mean_colour):
    adata, image = section
    del adata.uns["spatial"]
    adata.obsm["spatial"] = adata.obsm["spatial"] * 5.6
    with pytest.raises(ValueError, match=r"of 100 spots fall outside.*at least [45]\.\dx too large") as caught:
        hq.im.embed_patches(adata, image, mpp=2.0 / 5.6, encoder=mean_colour(), field_um=64)
    scale = float(str(caught.value).split("image_scale=")[1].split()[0])
    hq.im.embed_patches(adata, image, mpp=2.0 / 5.6, image_scale=1.02 * scale, encoder=mean_colour(), field_um=64)


def test_spots_outside_find_the_scale_factor_of_the_section(section, mean_colour):
    adata, image = section
    adata.obsm["spatial"] = adata.obsm["spatial"] * 5.6
    adata.uns["spatial"]["toy_slide"]["scalefactors"] = {"tissue_hires_scalef": 1 / 5.6, "spot_diameter_fullres": 9.0}
    with pytest.raises(ValueError, match=r"1 / tissue_hires_scalef of this section: pass image_scale=5.6"):
        hq.im.embed_patches(adata, image, mpp=2.0 / 5.6, encoder=mean_colour(), field_um=64)


@pytest.mark.parametrize("move", [(-9000.0, 0.0), (0.0, 0.0)])
def test_spots_that_no_scale_brings_back(section, mean_colour, move):
    adata, image = section
    adata.uns.pop("spatial")
    centres = adata.obsm["spatial"] + move
    if move == (0.0, 0.0):
        centres[:60, 0] = -5 - np.arange(60)
    adata.obsm["spatial"] = centres
    with pytest.raises(ValueError, match="another origin"):
        hq.im.embed_patches(adata, image, mpp=2.0, encoder=mean_colour(), field_um=64)


def test_some_spots_outside_are_padded(section, mean_colour):
    adata, image = section
    adata.obsm["spatial"][:20] += 10_000
    with pytest.warns(UserWarning, match=r"20 of 100 spots lie outside the image .*taken for empty glass"):
        hq.im.embed_patches(adata, image, mpp=2.0, encoder=mean_colour(), field_um=64)
    assert adata.uns["histoquilt"]["X_mean_colour"]["n_padded"] == 20
    assert (adata.obsm["X_mean_colour"][:20] == 255).all()


def test_another_resolution_than_the_encoder_learnt_from_is_told(section, mean_colour, recwarn):
    hq.im.embed_patches(*section, mpp=2.0, encoder=mean_colour(mpp=2.5), field_um=64)  # 4 um per pixel
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"4 um per pixel of the encoder mean_colour.* from 0.5.*field_um=8"):
        hq.im.embed_patches(*section, mpp=2.0, encoder=mean_colour(mpp=0.5), field_um=64)


def test_an_image_too_coarse_for_the_field_is_told(section, mean_colour):
    with pytest.warns(UserWarning, match="enlarged to 16"):
        hq.im.embed_patches(*section, mpp=2.0, encoder=mean_colour(), field_um=8)


def test_the_files_own_mpp_is_compared(section, mean_colour):

    adata, image = section
    with pytest.warns(UserWarning, match=r"says 0.5 um per pixel.*together say 2"):
        hq.im.embed_patches(
            adata, hq.io.ArraySlide(image, name="s", mpp=0.5), mpp=2.0, encoder=mean_colour(), field_um=64
        )


def test_an_encoder_that_breaks_its_word_is_named(section, mean_colour):
    encoder = mean_colour()
    encoder.n_features = 13
    with pytest.raises(ValueError, match=r"mean_colour returned .* declares n_features=13"):
        hq.im.embed_patches(*section, mpp=2.0, encoder=encoder, field_um=64)
    encoder = mean_colour()
    encoder.embed = lambda patches: np.full((len(patches), 12), np.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        hq.im.embed_patches(*section, mpp=2.0, encoder=encoder, field_um=64)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("he_texture", "he_texture"),
        ("onnx:/some/where/net.v2.onnx", "onnx_net.v2"),
        ("timm:densenet121.tv_in1k", "timm_densenet121.tv_in1k"),
        ("timm:hf-hub:a/b c", "timm_hf-hub_a_b_c"),
        ("hf-hub:MahmoodLab/UNI", "hf-hub_MahmoodLab_UNI"),
    ],
)
def test_short_names(name, short):
    assert short_name(name) == short


# --- reading ahead ---


def test_reading_ahead_keeps_order_and_is_bounded():
    made = []

    def numbers():
        for i in range(20):
            made.append(i)
            yield i

    ahead = read_ahead(numbers(), depth=2)
    assert next(ahead) == 0
    assert len(made) <= 5
    assert list(ahead) == list(range(1, 20))


def test_reading_ahead_passes_errors_on_and_stops_with_its_reader():
    def breaks():
        yield 1
        raise OSError("the file is truncated")

    ahead = read_ahead(breaks())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="truncated"):
        next(ahead)
    endless = read_ahead(iter(int, 1))
    next(endless)
    endless.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("histoquilt-patches")]


class Brightness(MeanColour):
    """Mean of a patch of another size."""

    name, n_features, input_px = "brightness", 1, 8

    def embed(self, patches):
        return patches.reshape(len(patches), -1).mean(axis=1, keepdims=True, dtype=np.float32)


def test_several_encoders_give_what_each_gives_alone_and_read_the_slide_once(section, mean_colour, tmp_path):
    adata, image = section
    alone, encoders = adata.copy(), [mean_colour(), Brightness(digest="b")]
    for encoder in encoders:
        hq.im.embed_patches(alone, image, mpp=2.0, encoder=encoder, field_um=[64, 32], progress=False)

    class Counted(type(hq.im._as_slide.as_slide(image))):
        n_read = 0

        def read_region(self, *args, **more):
            Counted.n_read += 1
            return super().read_region(*args, **more)

    slide = Counted(image)
    options = {"mpp": 2.0, "encoder": encoders, "field_um": [64, 32], "progress": False}
    for cache in (None, tmp_path, tmp_path):
        hq.im.embed_patches(adata, slide, **options, cache=cache)
        for key in ("X_mean_colour_64um", "X_mean_colour_32um", "X_brightness_64um", "X_brightness_32um"):
            np.testing.assert_array_equal(adata.obsm[key], alone.obsm[key])
            assert adata.uns["histoquilt"][key] == alone.uns["histoquilt"][key]
    assert Counted.n_read == 3 * adata.n_obs
    assert adata.uns["histoquilt"]["X_stain"]["input_mpp"] == 64 / 16  # as the first encoder sees it


def test_keys_of_several_encoders_are_distinct(section, mean_colour):
    adata, image = section
    twins = [mean_colour(), mean_colour(digest="b")]
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=twins, field_um=64, progress=False)
    for encoder in twins:
        assert adata.uns["histoquilt"][f"X_mean_colour_{encoder.digest[:6]}"]["digest"] == encoder.digest
    hq.im.embed_patches(adata, image, mpp=2.0, encoder=twins, field_um=64, key_added=["X_a", "X_b"], progress=False)
    np.testing.assert_array_equal(adata.obsm["X_a"], adata.obsm["X_b"])
    with pytest.raises(ValueError, match=r"key_added must be 2 different key\(s\), one an encoder, got \['X_a'\]"):
        hq.im.embed_patches(adata, image, mpp=2.0, encoder=twins, field_um=64, key_added="X_a")
    for wrong in ([], [mean_colour(), mean_colour()]):
        with pytest.raises(ValueError, match="encoder must be one or more different encoders"):
            hq.im.embed_patches(adata, image, mpp=2.0, encoder=wrong, field_um=64)
