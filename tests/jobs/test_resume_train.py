"""``histoquilt train --resume``: stopped anywhere, the same command ends with the model of an undisturbed run."""

import pytest

from histoquilt.cli import run
from histoquilt.im.encoders._he_texture import TextureEncoder
from histoquilt.models.mclstexp import _training as _mclstexp_training
from histoquilt.train import _checkpoint


@pytest.fixture
def train(study_folder, tmp_path, monkeypatch):
    """Run the command; arguments come on top. Training is kept after every epoch."""
    monkeypatch.setattr(_checkpoint, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(_checkpoint, "_SHARE_OF_TIME", float("inf"))

    def start(*arguments, out=tmp_path / "model"):
        command = ["train", study_folder / "samples.csv", "--method", "mclstexp", "--field-um", "100", "--n-genes", 10]
        return run([str(part) for part in [*command, "--out", out, "-q", *arguments]])

    return start


@pytest.fixture
def epochs(monkeypatch):
    """Count the epochs made; ``stop`` in the place of its number."""
    made, real = {"made": 0, "stop": None}, _mclstexp_training._Epoch.__call__

    def watched(self):
        if made["made"] == made["stop"]:
            raise KeyboardInterrupt
        made["made"] += 1
        return real(self)

    monkeypatch.setattr(_mclstexp_training._Epoch, "__call__", watched)
    return made


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_stopped_in_training_and_gone_on_with(train, epochs, monkeypatch, tmp_path, capsys):
    assert train("--resume", out=tmp_path / "undisturbed") == 0
    n_epochs, epochs["made"], epochs["stop"] = epochs["made"], 0, 29
    assert train("--resume") == 130
    assert "model.partial. The same command goes on from there." in capsys.readouterr().err
    partial = tmp_path / "model.partial"
    assert not (tmp_path / "model").exists()
    assert files(partial / "training" / "model") == ["fold-0.safetensors", "fold-1.safetensors"]
    assert len(files(partial / "embeddings")) >= 3

    epochs["stop"] = None
    with monkeypatch.context() as patch:
        patch.setattr(TextureEncoder, "embed", lambda *arguments: pytest.fail("patches were encoded again"))
        assert train("--resume") == 0
    assert epochs["made"] == n_epochs
    assert not partial.exists()
    for name in ("weights.safetensors", "config.json", "genes.txt"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr(TextureEncoder, "embed", lambda *arguments: pytest.fail("patches were encoded once more"))
        assert train("--resume") == 0
    assert "model is complete: already done." in capsys.readouterr().out
    assert epochs["made"] == n_epochs


def test_without_resume_nothing_is_kept(train, epochs, tmp_path):
    epochs["stop"] = 3
    assert train() == 130
    assert files(tmp_path) == ["study"]


def test_a_model_of_another_job_is_not_replaced(train, epochs, ridge_model, capsys):
    before = {path.name: path.read_bytes() for path in ridge_model.iterdir()}
    assert train("--resume", out=ridge_model) == 2
    assert "already holds results" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in ridge_model.iterdir()} == before
    assert epochs["made"] == 0
