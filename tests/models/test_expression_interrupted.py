"""Training of an expression model that was interrupted ends where undisturbed training ends, bit for bit."""

import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from histoquilt.datasets import paired_study
from histoquilt.models import MclSTExp, MclSTExpConfig, RidgeOnEmbedding, SpaHGC, SpaHGCConfig
from histoquilt.models.mclstexp import _training as of_mclstexp
from histoquilt.models.spahgc import _training as of_spahgc
from histoquilt.train import _checkpoint

N_EPOCHS, N_FOLDS = 6, 3
METHODS = {
    "mclstexp": (MclSTExp, MclSTExpConfig(max_epochs=N_EPOCHS, check_every=2, n_latent=16, k=(5, 10)), of_mclstexp),
    "spahgc": (
        SpaHGC,
        SpaHGCConfig(max_epochs=N_EPOCHS, check_every=2, n_hidden=16),
        of_spahgc,
    ),
}


class Killed(BaseException):
    """No error that anything would catch."""


@pytest.fixture
def keep_all(monkeypatch):
    """Keep training after every epoch."""
    monkeypatch.setattr(_checkpoint, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(_checkpoint, "_SHARE_OF_TIME", np.inf)


@pytest.fixture(scope="module")
def study():
    sections = paired_study(n_sections=4, n_spots=40, n_genes=10, seed=0)
    return {"held_out": sections.pop(list(sections)[-1]), "train": sections}


@pytest.fixture(scope="module")
def undisturbed(study):
    return {name: cls(config).fit(study["train"], use_rep="X_image") for name, (cls, config, _) in METHODS.items()}


def kill_in_epoch(monkeypatch, module, number: int) -> list[int]:
    """Let an epoch be the last; returns a list that counts the epochs."""
    made, epoch = [0], module._Epoch.__call__

    def counted(self):
        made[0] += 1
        if made[0] == number:
            raise Killed
        return epoch(self)

    monkeypatch.setattr(module._Epoch, "__call__", counted)
    return made


def check_same(model, other, section) -> None:
    ours, theirs = model.state(), other.state()
    assert ours.settings == theirs.settings
    assert ours.weights.keys() == theirs.weights.keys()
    assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in ours.weights)
    assert ours.arrays.keys() == theirs.arrays.keys()
    assert all(np.array_equal(ours.arrays[name], theirs.arrays[name]) for name in ours.arrays)
    key = f"predicted_{model.method}"
    assert np.array_equal(model.predict(section).layers[key], other.predict(section).layers[key])
    reliability, expected = model.fitted.reliability, other.fitted.reliability
    assert np.array_equal(reliability.correlation, expected.correlation)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(("mclstexp", number) for number in (1, 4, N_EPOCHS + 1, 2 * N_EPOCHS + 5, N_FOLDS * N_EPOCHS + 2)),
        *(("spahgc", number) for number in (2 * N_EPOCHS + 5, N_FOLDS * N_EPOCHS + 2)),
    ],
)
def test_killed_in_any_epoch(name, number, study, undisturbed, tmp_path, monkeypatch, keep_all, caplog):
    cls, config, module = METHODS[name]
    whole = undisturbed[name]
    n_last = whole.state().settings["n_epochs"]
    number = min(number, N_FOLDS * N_EPOCHS + n_last)
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, module, number)
        with pytest.raises(Killed):
            cls(config).fit(study["train"], use_rep="X_image", checkpoint=tmp_path)
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "histoquilt"):
        made = kill_in_epoch(patch, module, -1)
        model = cls(config).fit(study["train"], use_rep="X_image", checkpoint=tmp_path)
    assert made[0] == N_FOLDS * N_EPOCHS + n_last - (number - 1)
    assert ("Resuming an interrupted run after" in caplog.text) == (number > 1)
    check_same(model, whole, study["held_out"])


@pytest.mark.parametrize("name", ["mclstexp", "spahgc"])
def test_training_that_had_ended_is_not_repeated(name, study, undisturbed, tmp_path, monkeypatch):
    cls, config, module = METHODS[name]
    cls(config).fit(study["train"], use_rep="X_image", checkpoint=tmp_path)  # too short to be kept at intervals
    made = kill_in_epoch(monkeypatch, module, -1)
    again = cls(config).fit(study["train"], use_rep="X_image", checkpoint=tmp_path)
    assert made[0] == 0
    check_same(again, undisturbed[name], study["held_out"])


@pytest.fixture(scope="module")
def kept_by_mclstexp(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    MclSTExp(METHODS["mclstexp"][1]).fit(study["train"], use_rep="X_image", checkpoint=folder)
    return folder


@pytest.mark.parametrize("other", ["seed", "settings", "data", "groups"])
def test_training_of_another_job_is_replaced(other, study, kept_by_mclstexp, tmp_path, caplog):
    train, config, seed = study["train"], METHODS["mclstexp"][1], 0
    shutil.copytree(kept_by_mclstexp, tmp_path, dirs_exist_ok=True)
    if other == "seed":
        seed = 1
    elif other == "settings":
        config = replace(config, temperature=0.3)
    else:
        train = {name: adata.copy() for name, adata in train.items()}
        for number, adata in enumerate(train.values()):
            if other == "data":
                adata.obsm["X_image"] = adata.obsm["X_image"][::-1]
            else:
                adata.obs["patient"] = f"patient {min(number, 1)}"
    model = MclSTExp(config).fit(train, use_rep="X_image", seed=seed, checkpoint=tmp_path)
    assert "was kept by another job" in caplog.text
    assert other in caplog.text
    check_same(model, MclSTExp(config).fit(train, use_rep="X_image", seed=seed), study["held_out"])


def test_a_damaged_file_costs_time_only(study, kept_by_mclstexp, undisturbed, tmp_path, caplog):
    shutil.copytree(kept_by_mclstexp, tmp_path, dirs_exist_ok=True)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["all.safetensors", *(f"fold-{n}.safetensors" for n in range(N_FOLDS))]
    for file in files:
        file.write_bytes(file.read_bytes()[:-100])
    model = MclSTExp(METHODS["mclstexp"][1]).fit(study["train"], use_rep="X_image", checkpoint=tmp_path)
    assert "fold-1.safetensors cannot be read" in caplog.text
    check_same(model, undisturbed["mclstexp"], study["held_out"])


def test_a_method_without_a_network_keeps_nothing(study, tmp_path):
    RidgeOnEmbedding().fit(study["train"], use_rep="X_image", checkpoint=tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


def test_a_checkpoint_is_a_folder(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="must be a folder"):
        RidgeOnEmbedding().fit(study["train"], use_rep="X_image", checkpoint=tmp_path / "file")
