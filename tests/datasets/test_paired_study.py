"""The synthetic study holds the signal where it says, and nowhere else."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from histoquilt.datasets import paired_study

KINDS = ["references", "pairing", "both"]


def log_cp10k(counts: np.ndarray) -> np.ndarray:
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)


def correlation(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    predicted, measured = predicted - predicted.mean(0), measured - measured.mean(0)
    return (predicted * measured).sum(0) / np.sqrt((predicted**2).sum(0) * (measured**2).sum(0))


def predict_last(study, shuffled: bool = False) -> dict[str, np.ndarray]:
    """Correlation of every gene in the last section, by what tells its expression."""
    *training, last = study.values()
    x, y = (
        np.concatenate([s.obsm["X_image"] for s in training]),
        log_cp10k(np.concatenate([s.X.toarray() for s in training])),
    )
    if shuffled:
        y = y[np.random.default_rng(0).permutation(len(y))]
    mean, std = x.mean(0), x.std(0)
    x, new, truth = (x - mean) / std, (last.obsm["X_image"] - mean) / std, log_cp10k(last.X.toarray())
    ridge = Ridge(30.0).fit(x, y)
    smooth = KNeighborsRegressor(9).fit(ridge.predict(x), y)  # nearest in what ridge predicts: a learned space
    predictions = {
        "noise-free": log_cp10k(last.layers["expected"]),
        "ridge": ridge.predict(new),
        "retrieval": KNeighborsRegressor(9, metric="cosine").fit(x, y).predict(new),
        "learned retrieval": smooth.predict(ridge.predict(new)),
    }
    return {name: correlation(prediction, truth) for name, prediction in predictions.items()}


@pytest.mark.parametrize("seed", [0, 1])
def test_only_references_tell(seed):
    study = paired_study(seed=seed, kind="references")
    scores = {name: score.mean() for name, score in predict_last(study).items()}
    assert scores["noise-free"] > 0.75
    assert scores["retrieval"] > 0.65
    assert abs(scores["ridge"]) < 0.1
    assert abs(predict_last(study, shuffled=True)["retrieval"].mean()) < 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_only_pairs_tell_which_directions_matter(seed):
    study = paired_study(seed=seed, kind="pairing")
    scores = {name: score.mean() for name, score in predict_last(study).items()}
    assert scores["noise-free"] > 0.7
    assert abs(scores["retrieval"]) < 0.12
    assert scores["learned retrieval"] > 0.55
    assert abs(predict_last(study, shuffled=True)["learned retrieval"].mean()) < 0.12


def test_both_hold_one_thing_in_each_half_of_the_genes():
    study = paired_study(kind="both")
    from_code = (study["s1"].var["follows"] == "prototype").to_numpy()
    assert from_code.sum() == 30
    scores = predict_last(study)
    assert scores["retrieval"][from_code].mean() > 0.6
    assert abs(scores["ridge"][from_code].mean()) < 0.12
    assert abs(scores["retrieval"][~from_code].mean()) < 0.12
    assert scores["ridge"][~from_code].mean() > 0.6


@pytest.mark.parametrize("kind", ["references", "both"])
def test_a_section_does_not_tell_itself_by_place(kind):
    """Spots next to each other show prototypes that have nothing to do with each other."""
    section = paired_study(kind=kind, n_spots=400)["s1"]
    y, side = log_cp10k(section.X.toarray()), 20
    grid = y.reshape(side, side, -1)
    assert abs(correlation(grid[:, 1:].reshape(-1, y.shape[1]), grid[:, :-1].reshape(-1, y.shape[1])).mean()) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written(kind):
    study = paired_study(3, 50, 20, kind=kind, n_features=20)
    assert list(study) == ["s1", "s2", "s3"]
    for name, section in study.items():
        assert section.shape == (50, 20)
        assert section.X.format == "csr"
        assert section.X.dtype == np.float32
        assert (section.X.data == np.rint(section.X.data)).all()
        assert section.obsm["X_image"].shape == (50, 20)
        assert section.obsm["X_image"].dtype == np.float32
        assert section.obs["section"].unique().tolist() == [name]
        assert section.obs_names.is_unique
        assert section.uns["histoquilt"]["scale"] == {"X": "counts"}
        assert section.uns["histoquilt"]["coordinates"]["pitch_um"] == 100
        assert section.var_names.equals(study["s1"].var_names)
        counts = section.obs["prototype"].value_counts()
        if kind == "pairing":
            assert counts.index.tolist() == [-1]
        else:
            assert len(counts) == 16
            assert counts.between(3, 4).all()
    assert len({section.obs["patient"].iloc[0] for section in study.values()}) == 3


def test_same_seed_same_study_and_more_sections_leave_the_first_alone():
    np.random.seed(0)  # noqa: NPY002  what must make no difference
    first = paired_study(2, seed=3)
    np.random.seed(1)  # noqa: NPY002  what must make no difference
    second, other = paired_study(3, seed=3), paired_study(2, seed=4)
    for name, section in first.items():
        assert (section.X != second[name].X).nnz == 0
        np.testing.assert_array_equal(section.obsm["X_image"], second[name].obsm["X_image"])
        assert (section.X != other[name].X).nnz > 0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"n_sections": 1}, ValueError, "n_sections must be at least 2, got 1"),
        ({"n_spots": 10}, ValueError, "n_spots must be at least 30"),
        ({"n_features": 8}, ValueError, "n_features must be at least 16"),
        ({"n_genes": 5.0}, TypeError, r"n_genes must be a whole number, got 5\.0"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"kind": "leak"}, ValueError, "Unknown kind 'leak'; known are references, pairing, both"),
    ],
)
def test_wrong_input(arguments, error, words):
    with pytest.raises(error, match=words):
        paired_study(**arguments)
