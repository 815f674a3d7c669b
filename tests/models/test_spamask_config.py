"""Settings: the published ones, their way through JSON, and what is refused."""

import json
from dataclasses import FrozenInstanceError, fields

import pytest

from histoquilt.models import SpaMaskConfig


def test_published_settings_are_those_of_the_paper():
    config = SpaMaskConfig()
    paper = {
        "features": "pca", "min_spots": 50, "min_counts": 10, "target_sum": 1e6, "log": False, "n_genes": 3000,
        "n_pcs": 200, "n_neighbors": 12, "radius": None, "n_hidden": 512, "n_latent": 256, "mask_rate": 0.3,
        "edge_mask_rate": 0.4, "alpha": 2.0, "edge_weight": 2.0, "scorer_dropout": 0.5, "learning_rate": 1e-3,
        "weight_decay": 2e-4, "max_grad_norm": 5.0, "max_epochs": 500,
        "tolerance": 0.0, "n_networks": 1,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in paper} == paper


def test_a_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        SpaMaskConfig().n_hidden = 3  # type: ignore[misc]


@pytest.mark.parametrize("config", [SpaMaskConfig(), SpaMaskConfig(radius=80.0)])
def test_json_round_trip(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert SpaMaskConfig.from_json(tmp_path / "config.json") == config


def test_what_is_not_named_keeps_its_default():
    config = SpaMaskConfig.from_dict({"n_hidden": 7})
    assert config.n_hidden == 7
    assert config.n_latent == SpaMaskConfig().n_latent


def test_unknown_settings_list_the_known_ones():
    with pytest.raises(ValueError, match=r"has no 'n_neighbours', 'weird'\. Known settings: features, .*n_neighbors"):
        SpaMaskConfig.from_dict({"weird": 1, "n_neighbours": 12})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", r"config\.json is not valid JSON"),
        ("[1, 2]", "must hold a JSON object of SpaMaskConfig settings, got a list"),
        ('{"n_latents": 3}', "has no 'n_latents'"),
        ('{"mask_rate": "0.3"}', "mask_rate must be a number, got '0.3'"),
        ('{"log": 1}', "log must be true or false, got 1"),
    ],
)
def test_json_that_is_no_config(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        SpaMaskConfig.from_json(tmp_path / "config.json")


def test_a_missing_json_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        SpaMaskConfig.from_json(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"features": "umap"}, "features must be 'pca' or 'hvg', got 'umap'"),
        ({"precision": "float16"}, "precision must be 'auto', 'float32' or 'bfloat16'"),
        ({"tile_spots": 0}, "tile_spots must be a whole number of at least 1, got 0"),
        ({"n_parts": 0}, "n_parts must be a whole number of at least 1, got 0"),
        ({"n_hidden": 0}, "n_hidden must be a whole number of at least 1, got 0"),
        ({"n_networks": 0}, "n_networks must be a whole number of at least 1, got 0"),
        ({"n_networks": True}, "n_networks must be a whole number, got True"),
        ({"scale_by_section": 1}, "scale_by_section must be true or false, got 1"),
        ({"n_hidden": 2.5}, "n_hidden must be a whole number, got 2.5"),
        ({"max_epochs": True}, "max_epochs must be a whole number, got True"),
        ({"mask_rate": 1.0}, "mask_rate must lie between 0 and 1, got 1.0"),
        ({"edge_mask_rate": float("nan")}, "edge_mask_rate must lie between 0 and 1"),
        ({"learning_rate": 0}, "learning_rate must be positive, got 0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
        ({"scorer_dropout": 1.0}, "scorer_dropout must be at least 0 and less than 1"),
        ({"radius": -5.0}, "radius must be positive"),
        ({"radius": "far"}, "radius must be a number or be null, got 'far'"),
    ],
)
def test_values_out_of_range(setting, words):
    with pytest.raises(ValueError, match=words):
        SpaMaskConfig(**setting)


def test_every_setting_is_ready_for_json():
    values = SpaMaskConfig().to_dict()
    assert set(values) == {field.name for field in fields(SpaMaskConfig)}
    assert all(isinstance(value, bool | int | float | str | None) for value in values.values())
