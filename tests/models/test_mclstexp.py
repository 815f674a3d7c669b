"""mclSTExp finds what tells expression from pairs alone, repeats itself, and survives a folder."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from anndata import AnnData

from histoquilt.datasets import paired_study
from histoquilt.models import MclSTExp, MclSTExpConfig, MeanExpression, NearestNeighbours, NearestNeighboursConfig, load
from histoquilt.models.expression._inner_validation import gene_correlations
from histoquilt.models.expression._targets import measure
from histoquilt.study import Section

QUICK = MclSTExpConfig(n_latent=32, learning_rate=3e-3, max_epochs=12, check_every=4, batch_size=64, k=(5, 20))
LONGER = replace(QUICK, max_epochs=24, check_every=8, n_blocks=0)


def small(n_spots: int = 90, n_genes: int = 24) -> dict[str, AnnData]:
    return paired_study(n_sections=4, n_spots=n_spots, n_genes=n_genes, kind="pairing")


def score(model, held_out: AnnData) -> float:
    predicted = model.predict(held_out)
    truth = measure(Section("s", held_out)).of(model.genes)
    return float(gene_correlations(truth, predicted.layers[f"predicted_{model.method}"]).mean())


def shuffled(sections: dict[str, AnnData]) -> dict[str, AnnData]:
    """Every image gets the counts of another spot of its section."""
    rng = np.random.default_rng(0)
    apart = {}
    for name, adata in sections.items():
        apart[name] = adata.copy()
        apart[name].X = adata.X[rng.permutation(adata.n_obs)]
    return apart


@pytest.fixture(scope="module")
def sections() -> dict[str, AnnData]:
    return small()


@pytest.fixture(scope="module")
def model(sections: dict[str, AnnData]) -> MclSTExp:
    train = {name: adata for name, adata in sections.items() if name != "s4"}
    return MclSTExp(QUICK).fit(train, use_rep="X_image", seed=3)


def test_it_recovers_what_pairs_tell_and_loses_it_when_pairs_are_shuffled() -> None:
    train = small(120)
    held_out = train.pop("s4")
    found = score(MclSTExp(LONGER).fit(train, use_rep="X_image"), held_out)
    similar = score(NearestNeighbours(NearestNeighboursConfig.plain()).fit(train, use_rep="X_image"), held_out)
    mean = score(MeanExpression().fit(train, use_rep="X_image"), held_out)
    lost = score(MclSTExp(LONGER).fit(shuffled(train), use_rep="X_image"), held_out)
    assert found > 0.25
    assert found > max(similar, mean) + 0.1
    assert abs(lost) < 0.1


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    model: MclSTExp, sections: dict[str, AnnData]
) -> None:
    train = {name: adata for name, adata in sections.items() if name != "s4"}
    first, again, other = (
        one.predict(sections["s4"]).layers["predicted_mclstexp"]
        for one in (
            model,
            MclSTExp(QUICK).fit(train, use_rep="X_image", seed=3),
            MclSTExp(replace(LONGER, max_epochs=1, check_every=1)).fit(train, use_rep="X_image", seed=4),
        )
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_training_leaves_global_random_state_and_sections_alone(sections: dict[str, AnnData]) -> None:
    train = {name: sections[name].copy() for name in ("s1", "s2")}
    before = torch.get_rng_state()
    MclSTExp(replace(QUICK, max_epochs=1)).fit(train, use_rep="X_image")
    assert torch.equal(before, torch.get_rng_state())
    for name, adata in train.items():
        assert (adata.X != sections[name].X).nnz == 0
        assert set(adata.obsm) == set(sections[name].obsm)


def test_a_folder_gives_back_the_same_model(
    model: MclSTExp, sections: dict[str, AnnData], tmp_path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="histoquilt"):
        model.save(tmp_path / "model")
    assert "measured expression of its training sections (s1, s2, s3)" in caplog.text
    back = load(tmp_path / "model")
    assert isinstance(back, MclSTExp)
    assert back.config == model.config
    assert back.training_facts["chosen"] == model.training_facts["chosen"]
    before, after = (one.predict(sections["s4"]).layers["predicted_mclstexp"] for one in (model, back))
    np.testing.assert_array_equal(before, after)
    back.save(tmp_path / "again")
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == (
        tmp_path / "model" / "weights.safetensors"
    ).read_bytes()


def test_a_spot_is_predicted_alike_whoever_else_is_predicted(model: MclSTExp, sections: dict[str, AnnData]) -> None:
    # own moments of the section are the one thing that others have a say in
    fixed = MclSTExp(replace(QUICK, own_moments=False, neighbours=False, max_epochs=1)).fit(
        {name: sections[name] for name in ("s1", "s2")}, use_rep="X_image"
    )
    whole = fixed.predict(sections["s4"]).layers["predicted_mclstexp"]
    some = fixed.predict(sections["s4"][10:40].copy()).layers["predicted_mclstexp"]
    np.testing.assert_allclose(some, whole[10:40], rtol=1e-4, atol=1e-4)


def test_prediction_is_an_average_of_what_was_measured(model: MclSTExp, sections: dict[str, AnnData]) -> None:
    values = model.predict(sections["s4"]).layers["predicted_mclstexp"]
    measured = np.concatenate([measure(Section("s", sections[name])).of(model.genes) for name in ("s1", "s2", "s3")])
    assert (values >= measured.min(axis=0) - 1e-5).all()
    assert (values <= measured.max(axis=0) + 1e-5).all()


def test_reliability_tells_told_genes(sections: dict[str, AnnData]) -> None:
    train = {name: adata for name, adata in sections.items() if name != "s4"}
    var = MclSTExp(LONGER).fit(train, use_rep="X_image").predict(sections["s4"]).var
    assert var["reliability"].mean() > 0.15  # chance is 0.00 +- 0.03
    assert (var["n_folds"] == 3).all()


def test_what_was_chosen_is_in_the_facts(model: MclSTExp) -> None:
    chosen = model.training_facts["chosen"]
    assert chosen["n_epochs"] in QUICK.checks
    assert chosen["k"] in QUICK.k
    assert chosen["key"] in QUICK.keys_to_try
    assert len(chosen["loss"]) == chosen["n_epochs"] == len(model.history)
    assert model.training_facts["contains_measured_expression"] is True


def test_references_can_be_compared_in_learned_directions(sections: dict[str, AnnData], tmp_path) -> None:
    train = {name: sections[name] for name in ("s1", "s2")}
    fitted = MclSTExp(replace(QUICK, key="learned", max_epochs=4)).fit(train, use_rep="X_image")
    assert fitted.learnt.bank.points.shape[1] == fitted.learnt.directions.shape[1] == 8
    fitted.save(tmp_path / "model")
    layers = [one.predict(sections["s4"]).layers["predicted_mclstexp"] for one in (fitted, load(tmp_path / "model"))]
    np.testing.assert_array_equal(*layers)


def test_more_references_asked_for_than_there_are_means_all(sections: dict[str, AnnData]) -> None:
    config = replace(QUICK, k=(100_000,), weighting="uniform", weigh_by_depth=False, max_epochs=1)
    fitted = MclSTExp(config).fit({name: sections[name] for name in ("s1", "s2")}, use_rep="X_image")
    values = fitted.predict(sections["s4"]).layers["predicted_mclstexp"]
    mean = np.concatenate([measure(Section("s", sections[name])).of(fitted.genes) for name in ("s1", "s2")]).mean(
        axis=0
    )
    np.testing.assert_allclose(values, np.broadcast_to(mean, values.shape), rtol=1e-5)


def test_training_that_diverges_says_so(sections: dict[str, AnnData]) -> None:
    config = replace(QUICK, similarity="dot", learning_rate=1e30)
    with pytest.raises(RuntimeError, match=r"Training diverged: the loss is .* Lower learning_rate"):
        MclSTExp(config).fit({name: sections[name] for name in ("s1", "s2")}, use_rep="X_image")


def test_one_section_is_refused(sections: dict[str, AnnData]) -> None:
    with pytest.raises(ValueError, match="at least two sections"):
        MclSTExp(QUICK).fit({"s1": sections["s1"]}, use_rep="X_image")
