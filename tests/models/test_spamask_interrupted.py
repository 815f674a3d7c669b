"""Training that was interrupted ends where undisturbed training ends, bit for bit."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from histoquilt.datasets import toy_section
from histoquilt.models import SpaMask, SpaMaskConfig
from histoquilt.models.spamask import _tiles as _spamask_tiles
from histoquilt.models.spamask._training import GradientStep
from histoquilt.nn._precision import _multiplies_bfloat16
from histoquilt.tl import integrate_sections, spatial_domains
from histoquilt.train import _checkpoint

N_EPOCHS = 12
KINDS = {
    "whole": {},
    "tiles": {"tile_spots": 30},
    "two networks": {"n_networks": 2},
    "published": {"spatial_factors": False, "n_pcs": 10, "embedding": "latent", "tolerance": 0.0},
    "bfloat16": {"n_latent": 256},
}


class Killed(BaseException):
    """No error that anything would catch."""


@pytest.fixture
def keep_all(monkeypatch):
    """Keep training at every look at the embedding."""
    monkeypatch.setattr(_checkpoint, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(_checkpoint, "_SHARE_OF_TIME", np.inf)


@pytest.fixture(scope="module", autouse=True)
def few_tiles_in_a_batch():
    """Let different steps on tiles read different tiles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_spamask_tiles, "BATCH_SPOTS", 60)
        yield


@pytest.fixture(scope="module")
def tissue():
    return toy_section(n_spots=200, n_genes=120, n_domains=4, seed=0)


def config(**changes) -> SpaMaskConfig:
    settings = {
        "n_hidden": 16,
        "n_latent": 8,
        "max_epochs": N_EPOCHS,
        "check_every": 2,
        "tolerance": 1e-9,
        "learning_rate": 0.02,
        **changes,
    }
    return SpaMaskConfig(**settings)


def kill_in_step(monkeypatch, number: int) -> list[int]:
    """Let a step of training be the last; returns a list that counts the steps."""
    made, step = [0], GradientStep.__call__

    def counted(self):
        made[0] += 1
        if made[0] == number:
            raise Killed
        return step(self)

    monkeypatch.setattr(GradientStep, "__call__", counted)
    return made


def check_same(model: SpaMask, other: SpaMask, tissue) -> None:
    for one, another in zip(model._fitted.networks, other._fitted.networks, strict=True):
        ours, theirs = one.network.state_dict(), another.network.state_dict()
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), name
        assert np.array_equal(one.slope, another.slope)
        assert np.array_equal(one.intercept, another.intercept)
    assert np.array_equal(model.embed(tissue), other.embed(tissue))
    facts, expected = dict(model.training_facts), dict(other.training_facts)
    assert facts.pop("history").equals(expected.pop("history"))
    assert facts.pop("wall_s") != expected.pop("wall_s")
    assert facts == expected


@pytest.fixture(scope="module")
def undisturbed(tissue):
    return {
        kind: SpaMask(config(**changes)).fit(tissue, progress=False)
        for kind, changes in KINDS.items()
        if kind != "bfloat16" or _multiplies_bfloat16()
    }


STEPS = [1, 2, 8, N_EPOCHS]
CASES = [(kind, number) for kind in KINDS for number in STEPS] + [("two networks", number) for number in (13, 21)]


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_killed_in_any_step(kind, number, tissue, undisturbed, tmp_path, monkeypatch, keep_all, caplog):
    if kind not in undisturbed:
        pytest.skip("this processor does not multiply bfloat16")
    model = SpaMask(config(**KINDS[kind]))
    with monkeypatch.context() as patch:
        kill_in_step(patch, number)
        with pytest.raises(Killed):
            model.fit(tissue, progress=False, checkpoint=tmp_path)
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "histoquilt"):
        made = kill_in_step(patch, -1)
        model.fit(tissue, progress=False, checkpoint=tmp_path)
    kept = (number - 1) // 2 * 2  # the last look at the embedding
    assert made[0] == N_EPOCHS * model.config.n_networks - kept
    assert ("epochs of training were kept by an interrupted run" in caplog.text) == (kept > 0)
    check_same(model, undisturbed[kind], tissue)


def test_training_that_had_ended_is_not_repeated(tissue, undisturbed, tmp_path, monkeypatch):
    SpaMask(config(n_networks=2)).fit(tissue, progress=False, checkpoint=tmp_path)  # too short to be kept at intervals
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network-0.safetensors", "network-1.safetensors"]
    made = kill_in_step(monkeypatch, -1)
    again = SpaMask(config(n_networks=2)).fit(tissue, progress=False, checkpoint=tmp_path)
    assert made[0] == 0
    check_same(again, undisturbed["two networks"], tissue)


def test_training_that_had_converged_stays_so(tissue, tmp_path, monkeypatch, keep_all):
    settings = config(max_epochs=200, tolerance=0.02)
    whole = SpaMask(settings).fit(tissue, progress=False)
    n_epochs = whole.training_facts["n_epochs"]
    assert (whole.training_facts["stopped"], n_epochs < 200) == ("converged", True)
    with monkeypatch.context() as patch:
        kill_in_step(patch, n_epochs)
        with pytest.raises(Killed):
            SpaMask(settings).fit(tissue, progress=False, checkpoint=tmp_path)
    made = kill_in_step(monkeypatch, -1)
    for steps in (2, 2):  # those after the last look, once
        check_same(SpaMask(settings).fit(tissue, progress=False, checkpoint=tmp_path), whole, tissue)
        assert made[0] == steps


OTHERS: dict[str, dict[str, object]] = {
    "seed": {"seed": 1},
    "settings": {"config": config(mask_rate=0.4)},
    "data": {"use_rep": "X_other"},
    "graph": {},
}


@pytest.mark.parametrize("other", OTHERS)
def test_training_of_another_job_is_replaced(other, tissue, tmp_path, keep_all, caplog):
    section, rng = tissue.copy(), np.random.default_rng(0)
    section.obsm["X_rep"] = rng.normal(size=(section.n_obs, 5)).astype(np.float32)
    section.obsm["X_other"] = section.obsm["X_rep"][::-1]
    links = csr_matrix(([1.0, 1.0], ([0, 199], [199, 0])), shape=(200, 200))  # the first spot to the last
    first = {"use_rep": "X_rep", "seed": 0, "links": links if other == "graph" else None, "progress": False}
    changed = dict(OTHERS[other])
    second = first | {"links": None}
    model = SpaMask(changed.pop("config", config()))
    second |= changed
    SpaMask(config()).fit(section, checkpoint=tmp_path, **first)
    before = (tmp_path / "network-0.safetensors").read_bytes()
    caplog.clear()
    model.fit(section, checkpoint=tmp_path, **second)
    assert "was kept by another job" in caplog.text
    assert other in caplog.text
    check_same(model, SpaMask(model.config).fit(section, **second), section)
    assert (tmp_path / "network-0.safetensors").read_bytes() != before


def test_a_damaged_file_costs_time_only(tissue, undisturbed, tmp_path, keep_all, caplog):
    SpaMask(config()).fit(tissue, progress=False, checkpoint=tmp_path)
    file = tmp_path / "network-0.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    model = SpaMask(config()).fit(tissue, progress=False, checkpoint=tmp_path)
    assert "network-0.safetensors cannot be read" in caplog.text
    check_same(model, undisturbed["whole"], tissue)


def test_a_checkpoint_is_a_folder(tissue, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="must be a folder"):
        SpaMask(config()).fit(tissue, progress=False, checkpoint=tmp_path / "file")


def test_domains_are_the_same(tissue, tmp_path, monkeypatch, keep_all):
    arguments = {"config": config(), "progress": False, "check_memory": False}
    whole = spatial_domains(tissue, 4, copy=True, **arguments)
    section = tissue.copy()
    with monkeypatch.context() as patch:
        kill_in_step(patch, 7)
        with pytest.raises(Killed):
            spatial_domains(section, 4, checkpoint=tmp_path / "kept", **arguments)
    spatial_domains(section, 4, checkpoint=str(tmp_path / "kept"), **arguments)
    assert section.obs["domain"].equals(whole.obs["domain"])
    assert np.array_equal(section.obs["domain_confidence"], whole.obs["domain_confidence"])
    assert np.array_equal(section.obsm["X_spamask"], whole.obsm["X_spamask"])
    assert section.obsm["denoised"].equals(whole.obsm["denoised"])


def test_shared_domains_are_the_same(tmp_path, monkeypatch, keep_all):
    two = toy_section(n_spots=120, n_genes=120, n_domains=3, n_sections=2, seed=0)
    arguments = {"config": config(), "mixing": False, "progress": False}
    whole = integrate_sections(two, 3, **arguments)
    with monkeypatch.context() as patch:
        kill_in_step(patch, 7)
        with pytest.raises(Killed):
            integrate_sections(two, 3, checkpoint=tmp_path, **arguments)
    joint = integrate_sections(two, 3, checkpoint=tmp_path, **arguments)
    assert joint.obs["domain"].equals(whole.obs["domain"])
    assert np.array_equal(joint.obsm["X_spamask"], whole.obsm["X_spamask"])


SCRIPT = """
import json, sys, time
import torch
from histoquilt.datasets import toy_section
from histoquilt.models import SpaMask, SpaMaskConfig
from histoquilt.models.spamask._training import GradientStep
from histoquilt.train import _checkpoint

torch.set_num_threads(int(sys.argv[2]))
_checkpoint.CHECKPOINT_EVERY, _checkpoint._SHARE_OF_TIME = 0.0, float("inf")
step = GradientStep.__call__

def slow(self):
    time.sleep(0.05)
    return step(self)

GradientStep.__call__ = slow
tissue = toy_section(n_spots=200, n_genes=120, n_domains=4, seed=0)
config = SpaMaskConfig.from_dict(json.loads(sys.argv[3]))
SpaMask(config).fit(tissue, progress=False, checkpoint=sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX systems")
def test_killed_for_real(tissue, tmp_path, caplog):
    settings = config(max_epochs=60, check_every=1, tolerance=0.0)
    arguments = [str(tmp_path), str(torch.get_num_threads()), json.dumps(settings.to_dict())]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    child = subprocess.Popen(command)
    written, file = set(), tmp_path / "network-0.safetensors"
    try:
        give_up = time.monotonic() + 120
        while len(written) < 5:  # writes of the checkpoint
            assert child.poll() is None, "the script ended before it could be killed"
            assert time.monotonic() < give_up
            if file.exists():
                written.add(file.stat().st_mtime_ns)
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    with caplog.at_level(logging.INFO, "histoquilt"):
        model = SpaMask(settings).fit(tissue, progress=False, checkpoint=tmp_path)
    (said,) = [record for record in caplog.records if "were kept by an interrupted run" in record.msg]
    assert 5 <= said.args[0] < 60
    check_same(model, SpaMask(settings).fit(tissue, progress=False), tissue)
