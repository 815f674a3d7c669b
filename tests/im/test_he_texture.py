import time

import numpy as np
import pytest

from histoquilt._base._protocols import PatchEncoder
from histoquilt.im.encoders import _texture_gabor as gabor
from histoquilt.im.encoders import _texture_local as local
from histoquilt.im.encoders import _texture_nuclei as nuclei
from histoquilt.im.encoders import _texture_stain as stain
from histoquilt.im.encoders._he_texture import TextureEncoder

SIDE = 112


@pytest.fixture(scope="module")
def encoder():
    return TextureEncoder()


@pytest.fixture
def patches():
    """Noise of different colours and grains: every part of the encoder has something to describe."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 250, (20, 28, 28, 3), dtype=np.uint8)
    smooth = coarse.repeat(4, axis=1).repeat(4, axis=2)
    return (smooth.astype(int) + rng.integers(-20, 5, smooth.shape)).clip(0, 255).astype(np.uint8)


def of_density(haematoxylin, eosin):
    """The RGB patch whose stains have these optical densities, the other way round than the encoder computes it."""
    absorption = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
    absorption /= np.linalg.norm(absorption, axis=1, keepdims=True)
    density = np.stack([haematoxylin, eosin], axis=-1) @ absorption
    return np.rint(256 * 10**-density - 1).clip(0, 255).astype(np.uint8)


def test_keeps_the_protocol_and_the_promised_width(encoder, patches):
    assert isinstance(encoder, PatchEncoder)
    found = encoder.embed(patches)
    assert found.shape == (20, encoder.n_features)
    assert found.dtype == np.float32
    assert 150 <= encoder.n_features <= 250
    assert len(encoder.digest) == 64


def test_neither_batch_nor_repetition_changes_a_bit(encoder, patches):
    whole = encoder.embed(patches)
    pieces = np.concatenate([encoder.embed(patches[:1]), encoder.embed(patches[1:4]), encoder.embed(patches[4:])])
    np.testing.assert_array_equal(whole, pieces)
    np.testing.assert_array_equal(whole, TextureEncoder().embed(patches))
    np.testing.assert_array_equal(whole[::-1], encoder.embed(patches[::-1]))


@pytest.mark.parametrize("value", [0, 255])
def test_glass_and_black_are_finite(encoder, value):
    found = encoder.embed(np.full((2, SIDE, SIDE, 3), value, dtype=np.uint8))
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 10


def test_turning_a_patch_changes_nothing(encoder, patches):
    for turned in (np.rot90(patches, axes=(1, 2)), patches[:, ::-1]):
        found = encoder.embed(np.ascontiguousarray(turned))
        np.testing.assert_allclose(found, encoder.embed(patches), atol=0.03)


def test_empty_batch(encoder):
    assert encoder.embed(np.zeros((0, SIDE, SIDE, 3), dtype=np.uint8)).shape == (0, encoder.n_features)


def test_stains_are_recovered_from_their_mixture():
    haematoxylin, eosin = np.meshgrid(np.linspace(0, 1, 20), np.linspace(0, 0.8, 20))
    found = stain.separate_stains(of_density(haematoxylin, eosin)[None])
    np.testing.assert_allclose(found[0, 0], haematoxylin, atol=0.02)
    np.testing.assert_allclose(found[1, 0], eosin, atol=0.03)
    np.testing.assert_allclose(found[2, 0], 0, atol=0.02)


def test_quantiles_agree_with_numpy():
    values = np.random.default_rng(1).uniform(0, 1.5, (3, 4000)).astype(np.float32)
    found = stain._quantiles(stain._histogram(values, stain._LEVELS))
    half_a_bin = (stain._HIGH - stain._LOW) / stain._LEVELS / 2
    np.testing.assert_allclose(found, np.quantile(values, stain.QUANTILES, axis=1).T, atol=1.2 * half_a_bin)


def test_nuclei_are_counted():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    density = np.full((2, SIDE, SIDE), 0.1, dtype=np.float32)
    for centre in [(20, 20), (20, 80), (70, 40), (90, 90)]:
        density[0][(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= 36] = 1.0
    density[0, 50, 50:54] = 0.12  # too pale
    found = nuclei.nuclei_features(density)
    absolute = found[0, -nuclei.PER_THRESHOLD :]
    assert absolute[0] == pytest.approx(np.sqrt(1000 * 4 / SIDE**2))
    assert absolute[4] == pytest.approx(0.25, abs=0.01)  # four equal discs: the largest has a quarter of their area
    assert absolute[5] < 0.02  # round
    assert absolute[6] < 0.02  # and all alike
    assert not found[1].any()  # the next patch has none: blobs do not leak across


def test_a_line_is_long_and_blobs_do_not_join_across_patches():
    density = np.zeros((2, SIDE, SIDE), dtype=np.float32)
    density[:, 40:44, 10:100] = 1.0  # at the same place in both patches
    found = nuclei.nuclei_features(density)[:, -nuclei.PER_THRESHOLD :]
    np.testing.assert_allclose(found[:, 0], np.sqrt(1000 / SIDE**2), rtol=1e-6)
    assert (found[:, 5] > 0.95).all()


def test_patterns_by_hand():
    spot = np.zeros((1, 3, 3), dtype=np.uint8)
    spot[0, 1, 1] = 100
    assert local._pattern_shares(spot)[0, 0] == 1  # brighter than all neighbours
    edge = np.zeros((1, 3, 3), dtype=np.uint8)
    edge[0, :, 2] = 100
    assert local._pattern_shares(edge)[0, 3] == 1  # three brighter neighbours in one arc
    board = np.zeros((1, 3, 3), dtype=np.uint8)
    board[0, [0, 0, 2, 2], [0, 2, 0, 2]] = 100
    assert local._pattern_shares(board)[0, 9] == 1  # four arcs


def test_co_occurrence_agrees_with_scikit_image():
    from skimage.feature import graycomatrix, graycoprops

    grey = np.random.default_rng(3).integers(0, 256, (2, 30, 30), dtype=np.uint8)
    found = local.glcm_features(grey)
    for patch in range(2):
        steps = grey[patch] // 16
        one_step = {"levels": 16, "symmetric": True}
        # a step along a diagonal is one row and one column, 1.41 px
        counts = sum(
            graycomatrix(steps, np.array([1, 3]) * length, angles, **one_step).sum(axis=3, keepdims=True)
            for length, angles in ((1, [0, np.pi / 2]), (np.sqrt(2), [np.pi / 4, 3 * np.pi / 4]))
        )
        shares = counts / counts.sum(axis=(0, 1))
        for place, distance in enumerate((0, 5)):
            expected = {name: graycoprops(shares, name)[place, 0] for name in ("contrast", "homogeneity", "energy")}
            assert found[patch, distance] == pytest.approx(np.sqrt(expected["contrast"]) / 15)
            assert found[patch, distance + 1] == pytest.approx(expected["homogeneity"])
            assert found[patch, distance + 2] == pytest.approx(expected["energy"])
            assert found[patch, distance + 4] == pytest.approx(graycoprops(shares, "correlation")[place, 0])


def test_gabor_finds_the_wavelength_and_the_direction():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    n = len(gabor.WAVELENGTHS_PX)
    for place, wavelength in enumerate(gabor.WAVELENGTHS_PX[1:], start=1):
        wave = 0.5 + 0.3 * np.sin(2 * np.pi * (columns * np.cos(0.5) + rows * np.sin(0.5)) / wavelength)
        found = gabor.gabor_features(wave[None].astype(np.float32))[0]
        assert found[:n].argmax() in (place - 1, place, place + 1)
        assert found[n + place] > 0.5
    noise = np.random.default_rng(4).normal(0.5, 0.1, (1, SIDE, SIDE)).astype(np.float32)
    assert gabor.gabor_features(noise)[0, n : n + 4].max() < 0.2  # no direction preferred


def test_gabor_energy_is_that_of_the_filtered_image():
    density = np.random.default_rng(5).normal(0, 1, (1, SIDE, SIDE)).astype(np.float32)
    window = gabor._bank(SIDE)[0]
    centred = (density[0] - density[0].mean()) * window
    u, v = np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)[:, None]
    energy = 0.0
    for direction in np.pi * np.arange(gabor.N_DIRECTIONS) / gabor.N_DIRECTIONS:
        frequency = 1 / gabor.WAVELENGTHS_PX[2]
        gain = sum(
            np.exp(
                -((u - sign * frequency * np.cos(direction)) ** 2 + (v - sign * frequency * np.sin(direction)) ** 2)
                / (2 * (gabor._BANDWIDTH * frequency) ** 2)
            )
            for sign in (1, -1)
        )
        energy += (np.abs(np.fft.ifft2(np.fft.fft2(centred) * np.sqrt(gain))) ** 2).mean()
    assert 10 ** gabor.gabor_features(density)[0, 2] == pytest.approx(energy, rel=0.01)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (np.zeros((2, SIDE, SIDE, 3), dtype=np.float32), TypeError, "uint8 RGB array with values 0 to 255.*float32"),
        ([[1, 2]], TypeError, "got list"),
        (np.zeros((2, 64, 64, 3), dtype=np.uint8), ValueError, r"\(n_patches, 112, 112, 3\), got \(2, 64, 64, 3\)"),
        (np.zeros((SIDE, SIDE, 3), dtype=np.uint8), ValueError, "squares of 112 px"),
        (np.zeros((2, SIDE, SIDE, 4), dtype=np.uint8), ValueError, "got"),
    ],
)
def test_wrong_patches_are_named(encoder, bad, error, words):
    with pytest.raises(error, match=words):
        encoder.embed(bad)


@pytest.mark.slow
def test_takes_at_most_three_milliseconds(encoder, patches):
    many = np.concatenate([patches] * 4)
    encoder.embed(patches)
    spent = []
    for _ in range(3):
        start = time.process_time()
        encoder.embed(many)
        spent.append((time.process_time() - start) / len(many))
    assert min(spent) < 0.006  # twice what is promised, for slow and busy machines


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_predicts_expression_better_than_mean_colour(encoder, data_dir):
    """Ridge from one real section to the next: median correlation of the 200 genes of highest mean in training."""
    import anndata
    from PIL import Image

    described, colour, expression = [], [], []
    for name in ("C2", "C3"):
        section = anndata.read_h5ad(data_dir / "her2st" / f"{name}.h5ad")
        with Image.open(data_dir / "her2st" / f"{name}.jpg") as image:
            image.draft("RGB", (image.width // 2, image.height // 2))  # half size, far quicker to decode
            pixels = np.pad(np.asarray(image), ((SIDE,) * 2, (SIDE,) * 2, (0, 0)), constant_values=255)
        at = np.rint(section.obsm["spatial"] / 2).astype(int) + SIDE // 2
        cut = np.stack([pixels[y : y + SIDE, x : x + SIDE] for x, y in at])
        described.append(encoder.embed(cut).astype(float))
        colour.append(cut.mean(axis=(1, 2)))
        counts = section.to_df()
        expression.append(np.log1p(1e4 * counts.div(counts.sum(axis=1), axis=0)))
    genes = expression[0].columns.intersection(expression[1].columns)
    genes = expression[0][genes].mean().nlargest(200).index

    def median_correlation(features):
        mean, spread = features[0].mean(axis=0), features[0].std(axis=0) + 1e-6
        train, test = (features[0] - mean) / spread, (features[1] - mean) / spread
        target = expression[0][genes].to_numpy()
        weights = np.linalg.solve(train.T @ train + 3e3 * np.eye(train.shape[1]), train.T @ (target - target.mean(0)))
        predicted, measured = test @ weights, expression[1][genes].to_numpy()
        predicted, measured = predicted - predicted.mean(0), measured - measured.mean(0)
        lengths = np.linalg.norm(predicted, axis=0) * np.linalg.norm(measured, axis=0)
        return np.median((predicted * measured).sum(axis=0) / lengths)

    assert median_correlation(described) > 0.2
    assert median_correlation(described) > median_correlation(colour) + 0.02
