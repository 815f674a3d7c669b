"""``--dask``: on the two workers of a real cluster every command writes what it writes without."""

import json
import os
import signal
import threading
import time

import anndata as ad
import pytest
import torch
from anndata.tests.helpers import assert_equal

from histoquilt.cli import run

BARE = ["--levels", "none", "--stability", "none", "--denoise", "none"]  # domains and nothing about them


@pytest.fixture(autouse=True)
def _one_thread():
    """As many as a worker has: sums of floats depend on how they are split."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def with_and_without(dask_address, same_results, tmp_path):
    """Run a command here, then on the cluster, and compare the results; return them."""

    def both(*command, compare=same_results):
        outs = tmp_path / "here", tmp_path / "there"
        for out, more in zip(outs, ([], ["--dask", dask_address]), strict=True):
            assert run([str(part) for part in [*command, "--out", out, "-q", *more]]) == 0
        compare(*outs)
        return outs

    return both


def test_sections_one_a_worker(with_and_without, three_files, quick):
    command = ["domains", *three_files[:2], "--separate", "-k", 3, "--config", quick]
    _, there = with_and_without(*command)
    assert list(json.loads((there / "run.json").read_text())["n_spots"]) == ["s1", "s2"]


def test_a_study_is_read_by_workers(with_and_without, three_files, samples, quick):
    table = samples("section,counts,z_um", *(f"{path.stem},{path.name},{10 * i}" for i, path in enumerate(three_files)))
    with_and_without("domains", table, "-k", 3, "--config", quick, "--links", "none", *BARE)


def test_predictions(with_and_without, ridge_model, study_folder):
    with_and_without("predict", ridge_model, study_folder / "he.png", "--mpp", 2, "--pitch-um", 200)


def test_predictions_of_a_table(with_and_without, ridge_model, study_folder):
    with_and_without("predict", ridge_model, study_folder / "samples.csv")


def test_training(with_and_without, study_folder):
    def same_model(one, other):
        for name in ("arrays.npz", "genes.txt", "config.json"):
            assert (one / name).read_bytes() == (other / name).read_bytes()
        records = [json.loads((out / "run.json").read_text()) for out in (one, other)]
        for key in ("inputs", "inner_validation", "encoder_digest", "field_um", "warnings", "n_spots"):
            assert records[0][key] == records[1][key], key

    command = ["train", study_folder / "samples.csv", "--method", "ridge", "--field-um", "100"]
    with_and_without(*command, compare=same_model)


def test_embeddings_of_an_evaluation(dask_workers, study_folder):
    from histoquilt.jobs.expression._images import ImagedConfig, read_imaged
    from histoquilt.jobs.work._run import start_run

    found = []
    samples, config = study_folder / "samples.csv", ImagedConfig(field_um=[100.0, 50.0], progress=False)
    for workers in (None, dask_workers):
        with start_run("evaluate", {"out": study_folder / "out"}, config) as run:
            run.workers = workers
            study = read_imaged(samples, config, run, device="auto", cache=None, least_sections=3)
            study.embed(run)
        found.append(study)
    here, there = found
    assert there.reps == ["X_he_texture_100um", "X_he_texture_50um"]
    for name, adata in here.sections.items():
        assert_equal(adata, there.sections[name], exact=True)


def test_a_worker_that_is_killed_is_done_without(with_and_without, dask_workers, three_files, tmp_path):
    config = tmp_path / "longer.json"
    config.write_text('{"n_pcs": 20}')
    client = dask_workers.client
    processes = client.run(os.getpid)
    killed = []

    def kill_one_that_works():
        while not killed:
            before = client.processing()
            time.sleep(0.2)
            for worker, keys in client.processing().items():
                if keys and keys == before.get(worker):  # in the middle of it
                    os.kill(processes[worker], signal.SIGKILL)
                    killed.append(worker)
                    return

    thread = threading.Thread(target=kill_one_that_works, daemon=True)
    thread.start()
    with_and_without("domains", *three_files, "--separate", "-k", 3, "--config", config)
    thread.join(10)
    assert killed


def test_one_that_fails_is_named_and_the_rest_finish(capsys, dask_address, three_files, quick, tmp_path):
    adata = ad.read_h5ad(three_files[1])
    adata.X = adata.X.toarray()
    adata.X[:] = 1  # found out when features are made
    adata.write_h5ad(three_files[1])
    out = tmp_path / "out"
    command = ["domains", *three_files, "--separate", "-k", 3, "--config", quick, "--out", out, "--resume", "-q"]
    assert run([str(part) for part in [*command, "--dask", dask_address]]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 3 inputs failed" in line
    assert "s2.h5ad: All 150 spots have the same expression" in line
    kept = sorted(path.name for path in (tmp_path / "out.partial" / "done").glob("*.h5ad"))
    assert kept == ["s1.h5ad", "s3.h5ad"]
    assert run([str(part) for part in [*command, "--skip-bad", "--dask", dask_address]]) == 0
    assert list(json.loads((out / "run.json").read_text())["n_spots"]) == ["s1", "s3"]


def test_a_cluster_that_is_not_there(refused, three_files, tmp_path):
    line = refused("domains", *three_files, "--separate", "--out", tmp_path / "out", "--dask", "nowhere")
    assert "'nowhere' is not a Dask scheduler. Give local" in line
    assert not (tmp_path / "out").exists()
