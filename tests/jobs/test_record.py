"""The facts of a run."""

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest

from histoquilt.jobs.work._record import RunRecord, package_versions, peak_rss_mb, sha256
from histoquilt.runtime import stage
from histoquilt.runtime._threads import use_threads


def test_digest_of_a_file_is_the_one_that_sha256sum_prints(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"counts")
    assert sha256(path) == hashlib.sha256(b"counts").hexdigest()


def test_digest_of_a_folder_sees_names_and_content_and_no_alignments(tmp_path):
    (tmp_path / "spatial").mkdir()
    (tmp_path / "spatial" / "positions.csv").write_text("1,2")
    first = sha256(tmp_path)
    (tmp_path / "possorted_genome_bam.bam").write_text("not read")
    assert sha256(tmp_path) == first
    (tmp_path / "spatial" / "positions.csv").write_text("1,3")
    second = sha256(tmp_path)
    (tmp_path / "spatial" / "positions.csv").rename(tmp_path / "spatial" / "renamed.csv")
    assert len({first, second, sha256(tmp_path)}) == 3


def test_peak_memory_is_in_mb():
    before = peak_rss_mb()
    block = np.ones(2**25)  # 256 MB
    assert 40 < before < 64_000
    assert peak_rss_mb() >= before
    assert peak_rss_mb() > block.nbytes / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child counts for itself")
def test_peak_memory_is_that_of_this_process_alone():
    block = np.ones(2**26)  # 512 MB, which the child's ru_maxrss counts: it was forked from this process
    code = "from histoquilt.jobs.work._record import peak_rss_mb; print(peak_rss_mb())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5 < float(child.stdout) < block.nbytes / 2**20


def test_threads_are_recorded():
    with use_threads(1):
        assert RunRecord("domains", {}).finish(warnings=[])["threads"] == 1


def test_stages_add_up():
    record = RunRecord("domains", {"seed": 1})
    for _ in range(2):
        with record.stage("read"):
            time.sleep(0.02)
    facts = record.finish(warnings=["w"], seed=1)
    assert 0.04 <= facts["timings"]["read"] <= facts["wall_s"]
    assert facts["warnings"] == ["w"]
    assert facts["arguments"] == {"seed": 1}
    assert facts["started"] <= facts["finished"]


def test_versions_of_what_is_absent_are_none():
    assert package_versions(["numpy", "no-such-package-here"]) == {
        "numpy": np.__version__,
        "no-such-package-here": None,
    }


def test_every_second_is_in_one_stage():
    record = RunRecord("domains", {})
    time.sleep(0.02)
    with record.stage("domains"):
        time.sleep(0.02)
        with stage("graph"):
            time.sleep(0.04)
        with record.stage("report"):
            running = record.finish(warnings=[])  # as the report asks, before the end
            time.sleep(0.02)
    facts = record.finish(warnings=[])
    timings = facts["timings"]
    assert list(timings) == ["domains", "graph", "report", "other"]
    assert sum(timings.values()) == pytest.approx(facts["wall_s"], abs=0.005)
    assert sum(running["timings"].values()) == pytest.approx(running["wall_s"], abs=0.005)
    assert timings["graph"] >= 0.04
    assert all(seconds >= 0.02 for seconds in timings.values())
    with stage("nowhere"):  # in no run: nothing to add to
        pass
