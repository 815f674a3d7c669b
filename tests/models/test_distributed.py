"""Two processes that torchrun starts train one network: what one process with the doubled batch gives."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch

from histoquilt import tl
from histoquilt.cli import run
from histoquilt.cli._app import _silent_unless_main
from histoquilt.datasets import toy_section
from histoquilt.jobs import DomainsConfig, JobError, find_domains
from histoquilt.jobs._domains import _own_folder
from histoquilt.models import SpaMask, SpaMaskConfig
from histoquilt.nn.tiles._batch_norm import CoreBatchNorm
from histoquilt.runtime._processes import is_main, n_processes, others_named, own_gpu, rank

CONFIG = SpaMaskConfig(n_hidden=32, n_latent=16, n_pcs=20, max_epochs=20, tolerance=0.0, tile_spots=60)
OF_TWO = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in two processes of one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)


@pytest.fixture
def one_of_two(monkeypatch):
    """This process believes that it is the second of two."""
    for name, value in {**OF_TWO, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Domains of a section, found by the program in two processes."""
    folder = tmp_path_factory.mktemp("together")
    toy_section(n_spots=960, n_genes=100, n_domains=4, seed=1).write_h5ad(folder / "tissue.h5ad")
    (folder / "config.json").write_text(json.dumps(CONFIG.to_dict()))
    asked = [
        "-k",
        "4",
        "--method",
        "spamask",
        "--config",
        str(folder / "config.json"),
        "--seed",
        "3",
        "--out",
        str(folder / "out"),
    ]
    return torchrun("-m", "histoquilt", "domains", str(folder / "tissue.h5ad"), *asked), folder


def test_losses_and_embedding_are_those_of_one_process_with_the_doubled_batch(done):
    process, folder = done
    assert process.returncode == 0, process.stderr
    together, alone = ad.read_h5ad(folder / "out" / "tissue.h5ad"), ad.read_h5ad(folder / "tissue.h5ad")
    tl.spatial_domains(alone, 4, model=SpaMask(replace(CONFIG, n_parts=2)), seed=3, denoise=False, progress=False)
    facts, of_one = (adata.uns["histoquilt"]["spamask"] for adata in (together, alone))
    assert (facts["processes"], facts["parts"], facts["steps"]) == (2, 2, 20)
    assert (of_one["processes"], of_one["parts"]) == (1, 2)
    for name in ("loss", "feature_loss", "edge_loss"):
        losses, expected = facts["history"][name], of_one["history"][name]
        assert len(losses) == 20
        assert np.abs(losses.to_numpy() - expected.to_numpy()).max() < 1e-5
    assert losses.std() > 1e-4
    np.testing.assert_allclose(together.obsm["X_domains"], alone.obsm["X_domains"], atol=1e-4, rtol=0)
    assert (together.obs["domain"] == alone.obs["domain"]).mean() > 0.99


def test_the_first_process_writes_and_prints_and_the_other_is_silent(done):
    process, folder = done
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "out", "tissue.h5ad"]
    assert process.stdout.splitlines() == ["tissue: 960 spots, 4 domains", f"Report: {folder / 'out' / 'report.html'}"]
    assert process.stderr.count("2 processes train together, on 1 thread(s) each") == 1
    assert process.stderr.count("SpaMask: 20 epochs") == 1


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], list[dict[str, np.ndarray]], float]:
    """What the processes of worker_of_distributed.py found, one of which raises in the end."""
    folder = tmp_path_factory.mktemp("pair")
    started = time.monotonic()
    process = torchrun(str(Path(__file__).with_name("worker_of_distributed.py")), str(folder))
    took = time.monotonic() - started
    assert not (folder / "never").exists()
    return process, [dict(np.load(folder / f"{number}.npz")) for number in range(2)], took


def test_moments_and_gradients_are_those_of_the_union(pair):
    torch.manual_seed(0)
    x, slope = torch.randn(30, 4, dtype=torch.float64) + 5, torch.randn(30, 4, dtype=torch.float64)
    core = torch.cat([torch.arange(16), torch.arange(18, 28)])
    halo = torch.tensor([16, 17, 28, 29])
    order = torch.cat([core, halo])
    norm = CoreBatchNorm(4).double()
    union = x[order].requires_grad_()
    y = norm(union, len(core))
    d_union, d_weight, d_bias = torch.autograd.grad(y, [union, norm.weight, norm.bias], slope[order])
    back = torch.argsort(order).numpy()
    _, found, _ = pair
    np.testing.assert_allclose(np.concatenate([one["y"] for one in found]), y.detach().numpy()[back], atol=1e-12)
    np.testing.assert_allclose(np.concatenate([one["d_mine"] for one in found]), d_union.numpy()[back], atol=1e-12)
    np.testing.assert_allclose(sum(one["d_weight"] for one in found), d_weight.numpy(), atol=1e-12)
    np.testing.assert_allclose(sum(one["d_bias"] for one in found), d_bias.numpy(), atol=1e-12)
    for one in found:
        np.testing.assert_allclose(one["running_var"], norm.running_var.numpy(), atol=1e-12)


def test_sums_and_decisions_are_shared(pair):
    for one in pair[1]:
        assert one["total"] == 3.0
        assert one["of_main"] == 7
        assert str(one["differs"]).startswith("A number differs between the processes of this run. All have to run")


def test_a_process_that_raises_ends_all(pair):
    process, _, took = pair
    assert process.returncode != 0
    assert "the second process is out of luck" in process.stderr
    assert took < 60


def test_who_is_left_says_so(one_of_two, monkeypatch):
    monkeypatch.setattr("histoquilt.runtime._processes.group_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    with pytest.raises(RuntimeError, match=r"Process 1 of 2 lost the others: one of them stopped"), others_named():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    with pytest.raises(RuntimeError, match=r"^a fault of another kind$"), others_named():
        raise RuntimeError("a fault of another kind")


def test_outside_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")  # some schedulers set this alone
    assert (n_processes(), rank(), is_main()) == (1, 0, True)
    assert own_gpu(4, None) is None
    assert own_gpu(4, 2) == 2


def test_every_process_has_a_gpu_of_its_own(one_of_two):
    assert (n_processes(), rank(), is_main()) == (2, 1, False)
    assert own_gpu(2, None) == 1
    assert own_gpu(2, 1) == 1
    with pytest.raises(ValueError, match=r"started 2 processes here, and torch sees 1 CUDA .* --nproc-per-node 1"):
        own_gpu(1, None)
    with pytest.raises(ValueError, match=r"device='cuda:0' names one GPU for 2 processes\. Use device='cuda'"):
        own_gpu(2, 0)


def test_commands_that_run_in_one_process(one_of_two, capsys):
    assert run(["doctor"]) == 2
    error = capsys.readouterr().err
    assert "(process 1 of 2): torchrun shares the training of 'domains' among processes; 'doctor' runs in one" in error


@pytest.mark.parametrize(("option", "words"), [("resume", "resume=True keeps"), ("dask", "dask= and torchrun both")])
def test_options_that_do_not_go_together_with_torchrun(one_of_two, option, words):
    with pytest.raises(JobError, match=words):
        find_domains("a.h5ad", "out", **{option: "local" if option == "dask" else True})


def test_what_the_others_write_is_thrown_away(one_of_two, tmp_path, capsys):
    with _own_folder(tmp_path / "out", DomainsConfig()) as out, _silent_unless_main():
        print("not to be seen")
        out.mkdir()
    assert not list(tmp_path.iterdir())
    assert not out.exists()
    assert capsys.readouterr().out == ""
