"""Out of memory is predicted: estimates beside measured peaks, and a job that would not fit is refused with advice."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from histoquilt import models
from histoquilt.datasets import toy_section
from histoquilt.models import SpaMask, SpaMaskConfig, SpatialFactors, SpatialFactorsConfig
from histoquilt.tl import _memory, integrate_sections, spatial_domains
from histoquilt.tl._memory import Job, check_memory_suffices, memory_needed

GB = 10**9
TABLE = Path(__file__).parents[2] / "benchmarks" / "memory.csv"


def job(n_spots, n_genes=500, *, model=None, n_columns=0, denoised=True) -> Job:
    model = model or SpatialFactors()
    modelled = 0 if n_columns else min(n_genes, model.config.n_genes)
    width = n_columns or min(model.config.n_pcs, modelled)
    return Job(n_spots, modelled, 0.0, width, modelled if denoised else 0, False, model)


def test_estimates_lie_near_measured_peaks():
    if not TABLE.exists():
        pytest.skip("benchmarks/ is not shipped with this copy of the tests")
    for row in pd.read_csv(TABLE).itertuples():
        kind = getattr(models, row.model)
        model = kind(kind.config_class(**json.loads(row.settings)))
        one = job(row.n_spots, row.n_genes, model=model, n_columns=row.n_columns, denoised=row.denoised)
        ratio = memory_needed(one) / (row.megabytes * 1e6)
        assert 1.0 < ratio < 1.6, (row, ratio)


def test_what_makes_a_job_larger():
    one = job(20_000)
    for larger in (
        replace(one, copied=500.0),
        replace(one, several=True),
        replace(one, n_features=300),
        replace(one, model=SpaMask()),
        job(20_000, model=SpaMask(SpaMaskConfig(n_networks=20))),
        job(40_000),
    ):
        assert memory_needed(larger) > memory_needed(one)
    large = job(400_000)
    assert memory_needed(replace(large, n_denoised=0)) < memory_needed(large)
    assert memory_needed(job(1_000_000)) < 6 * GB


def test_a_job_that_does_not_fit_says_the_number_and_what_would(monkeypatch):
    monkeypatch.setattr(_memory, "available_bytes", lambda: 2 * GB)
    with pytest.raises(ValueError, match=r"1,000,000 spots will take about \d\.\d GB of memory; 2\.0 GB is available"):
        check_memory_suffices(job(1_000_000))
    with pytest.raises(ValueError, match=r"What would fit: .*SpatialFactorsConfig\(n_pcs=50\).* use_rep='X_pca'"):
        check_memory_suffices(job(1_000_000))
    with pytest.raises(ValueError, match="Use fewer spots, or a machine with more"):
        check_memory_suffices(job(100_000_000))
    check_memory_suffices(job(100_000))


def test_an_unknown_amount_stops_nothing(monkeypatch):
    monkeypatch.setattr(_memory, "available_bytes", lambda: None)
    check_memory_suffices(job(100_000_000))


def test_spatial_domains_refuses_before_it_works_unless_told_not_to(monkeypatch):
    adata = toy_section(n_spots=200, n_genes=60, n_domains=3, seed=0)
    monkeypatch.setattr(_memory, "available_bytes", lambda: 1000)
    with pytest.raises(ValueError, match="pass check_memory=False"):
        spatial_domains(adata, 3, progress=False)
    assert "domain" not in adata.obs
    spatial_domains(adata, 3, progress=False, check_memory=False)
    assert "domain" in adata.obs


def test_integration_refuses_too(monkeypatch):
    two = toy_section(n_spots=200, n_genes=60, n_domains=3, n_sections=2, seed=0)
    monkeypatch.setattr(_memory, "available_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"domains of 400 spots will take about .* pass check_memory=False"):
        integrate_sections(two, 3, progress=False)
    joint = integrate_sections(two, 3, mixing=False, progress=False, check_memory=False)
    assert "domain" in joint.obs


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA is enforced on Linux alone")
def test_a_limit_of_the_system_is_seen(tmp_path):
    """A real limit, in a process of its own: the command says so in a line, and nothing of it was begun."""
    toy_section(n_spots=40_000, n_genes=100, n_domains=3, seed=0).write_h5ad(tmp_path / "toy.h5ad")
    program = f"""
import resource
import histoquilt.cli, histoquilt.tl, scanpy, skmisc.loess
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData:")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 150_000_000,) * 2)
raise SystemExit(histoquilt.cli.run(["domains", "{tmp_path}/toy.h5ad", "-k", "3", "-o", "{tmp_path}/out", "-q"]))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 2, ran.stderr
    [line] = ran.stderr.strip().splitlines()
    assert re.search(
        r"40,000 spots will take about \d\.\d GB of memory; .* is available\. .*pass --ignore-memory", line
    )
    assert not (tmp_path / "out").exists()


def test_a_job_is_read_off_the_section():
    adata = toy_section(n_spots=200, n_genes=60, n_domains=3, seed=0)
    found = {"layer": None, "use_rep": None, "several": False}
    model = SpatialFactors(SpatialFactorsConfig(n_pcs=20))
    one = Job.of(adata, model, **found, genes=[])
    assert (one.n_spots, one.n_genes, one.copied, one.n_features, one.n_denoised) == (200, 60, 0.0, 20, 60)
    assert Job.of(adata, model, **found, genes=None).n_denoised == 0
    assert Job.of(adata, model, **found, genes=["a", "b"]).n_denoised == 2
    adata.X = adata.X.toarray()
    assert Job.of(adata, model, **found, genes=[]).copied == 8 * 60
    adata.obsm["rep"] = np.zeros((200, 7))
    rep = Job.of(adata, model, **(found | {"use_rep": "rep"}), genes=None)
    assert (rep.n_genes, rep.n_features, rep.n_denoised) == (0, 7, 0)
