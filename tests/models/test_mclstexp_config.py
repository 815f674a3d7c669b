"""Settings of mclSTExp: what is refused, what the paper's are, and the way to JSON and back."""

import json

import pytest

from histoquilt.models import MclSTExpConfig


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"n_latent": 1}, "n_latent must be a whole number of at least 2"),
        ({"n_blocks": -1}, "n_blocks must be a whole number of at least 0"),
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2"),
        ({"max_epochs": 2.5}, "max_epochs must be a whole number"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"dropout_rate": 1.0}, "dropout_rate must be at least 0 and less than 1"),
        ({"input_dropout": -0.1}, "input_dropout must be"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"k": ()}, "k must be one or more whole numbers"),
        ({"k": (0,)}, "k must be one or more whole numbers"),
        ({"similarity": "l1"}, "similarity must be 'cosine' or 'dot', got 'l1'"),
        ({"key": "expression"}, "key must be 'spot', 'image', 'both', 'learned' or 'validate'"),
        ({"weighting": "softmax"}, "weighting must be 'uniform', 'inverse_square' or 'validate'"),
        ({"neighbours": "validate"}, "takes inputs as they are"),
        ({"image_branch": "resnet"}, "image_branch must be 'embedding', 'cnn' or 'timm:NAME', got 'resnet'"),
        ({"image_branch": "timm:"}, "image_branch must be"),
        ({"image_branch": "cnn"}, r"MclSTExpConfig.trainable\(\)"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MclSTExpConfig(**values)


@pytest.mark.parametrize(
    "config",
    [MclSTExpConfig(), MclSTExpConfig.published(), MclSTExpConfig.trainable()],
    ids=["default", "published", "trainable"],
)
def test_json_gives_back_the_same(config: MclSTExpConfig) -> None:
    assert MclSTExpConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_published_settings_are_those_of_the_paper() -> None:
    config = MclSTExpConfig.published()
    assert config.image_branch == "timm:densenet121"
    assert (config.temperature, config.similarity, config.learning_rate, config.weight_decay) == (1, "dot", 1e-4, 1e-3)
    assert (config.batch_size, config.checks, config.n_latent, config.n_blocks) == (128, (90,), 256, 2)
    assert (config.k, config.key, config.weighting) == ((200,), "spot", "inverse_square")
    assert not any((config.own_moments, config.weigh_by_depth, config.neighbours))


def test_looks_at_inner_validation_are_spread_over_training() -> None:
    assert MclSTExpConfig(max_epochs=4, check_every=2).checks == (2, 4)
    assert MclSTExpConfig(max_epochs=5, check_every=2).checks == (2, 4, 5)
    assert MclSTExpConfig(max_epochs=3, check_every=4).checks == (3,)
    assert MclSTExpConfig(max_epochs=3, check_every=0).checks == (3,)
    assert MclSTExpConfig(max_epochs=0).checks == (0,)
