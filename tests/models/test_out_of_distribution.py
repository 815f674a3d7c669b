import numpy as np
import pytest

from histoquilt.models.expression.unlike._embedding import TrainingDistribution


def _sections(n_features, n_sections=3, n_spots=80):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(10, n_features))
    return [
        rng.normal(size=(n_spots, 10)) @ mixing + 0.5 * rng.normal(size=(n_spots, n_features))
        for _ in range(n_sections)
    ]


@pytest.mark.parametrize("n_features", [20, 400], ids=["more spots", "more features"])
def test_held_out_tissue_is_inside_and_other_tissue_outside(n_features):
    *train, held_out = _sections(n_features, 4)
    fitted = TrainingDistribution.fit(train, ["a", "b", "c"])
    spots, section = fitted.score(held_out)
    assert (spots > 1).mean() < 0.1
    assert section < 1
    other = np.random.default_rng(1).normal(size=held_out.shape) * held_out.std(axis=0) + held_out.mean(axis=0)
    assert fitted.score(other)[1] > 1  # the same moments, but no structure


def test_only_the_odd_spots_of_an_ordinary_section_are_outside():
    *train, held_out = _sections(20, 4)
    held_out[:5] += 100
    spots, section = TrainingDistribution.fit(train, ["a", "b", "c"]).score(held_out)
    assert (spots[:5] > 1).all()
    assert (spots[5:] > 1).mean() < 0.1
    assert section < 1


def test_the_order_of_spots_does_not_matter_and_arrays_restore_it():
    train = _sections(20)
    fitted = TrainingDistribution.fit(train, ["a", "b", "c"])
    order = np.random.default_rng(2).permutation(80)
    again = TrainingDistribution.restore(fitted.arrays())
    np.testing.assert_array_equal(fitted.score(train[0])[0][order], again.score(train[0][order])[0])


def test_constant_columns_and_copied_sections_do_no_harm():
    one = _sections(6)[0]
    one[:, 2] = 3.0
    fitted = TrainingDistribution.fit([one, one.copy()], ["a", "b"])
    assert np.isfinite(fitted.score(one)[0]).all()


@pytest.mark.parametrize("n_features", [4, 400])
def test_embeddings_that_do_not_vary_are_refused(n_features):
    one = np.full((20, n_features), 0.3)
    with pytest.raises(ValueError, match=r"embeddings of 20 training spots do not vary.*check_on_tissue.*use_rep="):
        TrainingDistribution.fit([one, one], ["a", "b"])
