"""Numbers of threads: what the machine grants, what is asked for, and what other libraries do to them."""

import os
import subprocess
import sys

import pytest
import torch

from histoquilt.runtime._threads import threads_in_use, threads_to_use, use_threads


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_all_cores_of_the_process_or_fewer_where_the_environment_says(eight_cores, monkeypatch):
    assert threads_to_use() == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_to_use() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "30")
    assert threads_to_use() == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # by level of nesting, which is for OpenMP alone
    assert threads_to_use() == 8


def test_torch_blas_and_new_processes_get_the_number_and_give_it_back():
    from threadpoolctl import threadpool_info

    before, environment = torch.get_num_threads(), dict(os.environ)
    other = before + 1
    with use_threads(other) as found:
        assert found == other == torch.get_num_threads() == threads_in_use()
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {other}
        told = subprocess.run([sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"],
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert told.stdout.strip() == str(other)
    assert torch.get_num_threads() == before
    assert dict(os.environ) == environment


def test_without_a_number_only_too_many_are_changed(eight_cores, monkeypatch):
    from histoquilt.runtime import _threads

    before = torch.get_num_threads()
    with use_threads() as found:
        assert found == torch.get_num_threads() == min(before, 8)
    monkeypatch.setattr(_threads, "threads_to_use", lambda: 1)
    torch.set_num_threads(2)
    try:
        with use_threads() as found:
            assert found == torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# in processes of their own: numba starts its threads once, and a test before this one may have done it
AFTER_NUMBA = """
import torch, histoquilt as hq
torch.set_num_threads(1)
adata = hq.datasets.toy_section(n_spots=150, n_genes=20, seed=0)
hq.tl.domain_markers(adata, domain_key="domain_true")
first = torch.get_num_threads()
import numba
print(first, torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
"""


def test_markers_leave_torch_its_number_of_threads():
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", AFTER_NUMBA], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["1", "1", "2"]


TAKES_OVER = """
import numba, torch
from histoquilt.runtime._threads import numba_beside_torch
for wanted in (1, 7):
    torch.set_num_threads(wanted)
    with numba_beside_torch():
        print(numba.get_num_threads())
    print(numba.get_num_threads(), torch.get_num_threads())
"""


def test_numba_takes_over_torchs_number():
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", TAKES_OVER], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["1", "2", "1", "2", "2", "7"]


LOADED_INSIDE = """
import os, sys
os.environ["OMP_NUM_THREADS"] = "3"
from histoquilt.runtime import _threads
_threads.threads_to_use = lambda: 3
from histoquilt.runtime import threads_in_use, use_threads
import numpy
with use_threads(2) as found:
    print(found, threads_in_use(), "torch" in sys.modules)
    import torch
    print(threads_in_use(), torch.get_num_threads())
print(torch.get_num_threads(), os.environ["OMP_NUM_THREADS"])
"""


def test_torch_that_is_loaded_in_the_block_takes_the_number_and_gives_it_back():
    done = subprocess.run([sys.executable, "-c", LOADED_INSIDE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "2", "False", "2", "2", "3", "3"]
