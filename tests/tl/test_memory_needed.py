"""Out of memory is predicted: estimates beside measured peaks, and a job that would not fit is refused with advice."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from histoquilt.tl._memory_needed import Job, check_memory_suffices, memory_needed

from histoquilt.datasets import toy_section
from histoquilt.models import SpaMaskConfig
from histoquilt.tl import _memory_needed, integrate_sections, spatial_domains

MB, GB = 10**6, 10**9
DEFAULT = SpaMaskConfig()
WIDE = SpaMaskConfig(n_hidden=512, n_latent=256, n_neighbors=12)


def job(n_spots, n_genes=500, n_values=None, *, config=DEFAULT, n_features=0) -> Job:
    n_values = int(0.36 * n_spots * n_genes) if n_values is None else n_values
    denoised = min(n_genes, config.n_genes) if n_features == 0 else 0
    n_genes, n_values = (0, 0) if n_features else (n_genes, n_values)
    return Job(n_spots, n_genes, n_values, n_features, denoised, False, False, config)


def peak(one: Job) -> int:
    return max(memory_needed(one).values())


# peak resident set less what the process held before, in MB; 2 cores of an AMD EPYC, torch 2.13
MEASURED = [
    (job(10_000), 222),
    (job(30_000), 567),
    (job(20_000, 2000), 889),
    (job(20_000, n_features=50), 249),
    (job(10_000, config=WIDE), 523),
    (job(60_000), 431),
    (job(60_000, config=WIDE), 1745),
    (job(60_000, config=SpaMaskConfig(n_networks=4)), 399),
    (job(100_000), 487),
    (job(150_000), 555),
    (replace(job(150_000), n_denoised=0), 522),
    (job(150_000, n_features=50), 198),
    (job(300_000, n_features=50), 249),
    (job(300_000), 828),
    (replace(job(300_000), n_denoised=0), 700),
    (job(1_000_000), 2750),
    (replace(job(1_000_000), n_denoised=0), 1190),
    (job(60_000, 2000), 725),
    (replace(job(60_000, 2000), n_denoised=0), 396),
    (replace(job(60_000), n_denoised=0, copied=True), 390),
]


@pytest.mark.parametrize(("one", "measured"), MEASURED)
def test_estimates_lie_near_measured_peaks(one, measured):
    assert 1.0 < peak(one) / (measured * MB) < 1.4


def test_above_the_size_of_one_piece_memory_grows_with_spots_and_no_faster():
    assert peak(job(1_000_000)) / peak(job(100_000)) < 10
    assert peak(job(1_000_000)) < 5 * GB


def test_what_makes_a_job_larger():
    one = job(20_000)
    assert peak(replace(one, copied=True)) > peak(one)
    assert peak(replace(one, by_section=True)) > peak(one)
    assert peak(replace(one, config=SpaMaskConfig(n_networks=20))) > peak(one)
    large = job(200_000)
    assert peak(replace(large, n_denoised=0)) < peak(large)


def test_a_job_that_does_not_fit_says_the_number_and_what_would(monkeypatch):
    monkeypatch.setattr(_memory_needed, "available_bytes", lambda: 2 * GB)
    with pytest.raises(
        ValueError, match=r"1,000,000 spots will take about \d\.\d GB of memory, .*2\.0 GB is available"
    ):
        check_memory_suffices(job(1_000_000))
    with pytest.raises(ValueError, match=r"What would fit: denoise=False.* use_rep='X_pca'"):
        check_memory_suffices(job(1_000_000))
    with pytest.raises(ValueError, match="Use fewer spots, or a machine with more"):
        check_memory_suffices(job(100_000_000))
    check_memory_suffices(job(100_000))


def test_spatial_domains_refuses_before_it_works_unless_told_not_to(monkeypatch):
    adata = toy_section(n_spots=200, n_genes=60, n_domains=3, seed=0)
    monkeypatch.setattr(_memory_needed, "available_bytes", lambda: 1000)
    with pytest.raises(ValueError, match="pass check_memory=False"):
        spatial_domains(adata, 3, progress=False)
    assert "domain" not in adata.obs
    spatial_domains(adata, 3, config=SpaMaskConfig(max_epochs=2), progress=False, check_memory=False)
    assert "domain" in adata.obs


def test_integration_refuses_too(monkeypatch):
    two = toy_section(n_spots=200, n_genes=60, n_domains=3, n_sections=2, seed=0)
    monkeypatch.setattr(_memory_needed, "available_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"domains of 400 spots will take about .* pass check_memory=False"):
        integrate_sections(two, 3, progress=False)
    one = Job.of(two, DEFAULT, layer=None, use_rep=None, by_section=True, genes=None, joined=True)
    assert "comparison of sections" in memory_needed(one)
    joint = integrate_sections(
        two, 3, config=SpaMaskConfig(max_epochs=2), mixing=False, progress=False, check_memory=False
    )
    assert "domain" in joint.obs


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA is enforced on Linux alone")
def test_a_limit_of_the_system_is_seen(tmp_path):
    """A real limit, in a process of its own: the command says so in a line, and nothing of it was begun."""
    toy_section(n_spots=2000, n_genes=100, n_domains=3, seed=0).write_h5ad(tmp_path / "toy.h5ad")
    program = f"""
import resource
import histoquilt.cli, histoquilt.tl, scanpy, skmisc.loess
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData:")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 60_000_000,) * 2)
raise SystemExit(histoquilt.cli.run(["domains", "{tmp_path}/toy.h5ad", "-k", "3", "-o", "{tmp_path}/out", "-q"]))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 2, ran.stderr
    [line] = ran.stderr.strip().splitlines()
    assert re.search(r"2,000 spots will take about \d\.\d GB of memory, .* is available\. .*pass --ignore-memory", line)
    assert not (tmp_path / "out").exists()


def test_a_job_is_read_off_the_section():
    adata = toy_section(n_spots=200, n_genes=60, n_domains=3, seed=0)
    found = {"layer": None, "use_rep": None, "by_section": False}
    one = Job.of(adata, DEFAULT, **found, genes=[])
    assert (one.n_spots, one.n_genes, one.n_values, one.n_denoised) == (200, 60, adata.X.nnz, 60)
    assert not one.copied
    assert Job.of(adata, DEFAULT, **found, genes=None).n_denoised == 0
    assert Job.of(adata, DEFAULT, **found, genes=["a", "b"]).n_denoised == 2
    adata.X = adata.X.toarray()
    dense = Job.of(adata, DEFAULT, **found, genes=[])
    assert (dense.n_values, dense.copied) == (12_000, True)
    adata.obsm["rep"] = np.zeros((200, 7))
    rep = Job.of(adata, DEFAULT, **(found | {"use_rep": "rep"}), genes=None)
    assert (rep.n_genes, rep.n_features, rep.n_denoised) == (0, 7, 0)
