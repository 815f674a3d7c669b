"""Work on named items: here, or on the processes of a real Dask cluster (``dask_workers`` of the conftest)."""

import json
import logging
import os
import re
import socket
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

import histoquilt
from histoquilt._base import _optional
from histoquilt.runtime._dask import _check_workers, connect
from histoquilt.runtime._log import logger
from histoquilt.runtime._workers import WorkerError, run_each


@pytest.fixture(params=["here", "workers"])
def workers(request):
    """None, and two processes."""
    return None if request.param == "here" else request.getfixturevalue("dask_workers")


def by_name(outcomes):
    return {outcome.name: outcome for outcome in outcomes}


def test_values_and_errors_of_named_items(workers):
    found = by_name(run_each(divmod, {"a": (7, 2), "b": (1, 0), "c": (9, 4)}, workers=workers))
    assert (found["a"].value, found["c"].value) == ((3, 1), (2, 1))
    assert isinstance(found["b"].error, ZeroDivisionError)
    assert (found["b"].value, found["a"].error) == (None, None)


def test_log_and_warnings_are_told_here(workers, caplog):
    def speak(name):
        logger.info("working on %s", name)
        warnings.warn(f"{name} is odd", RuntimeWarning, stacklevel=2)
        return name

    with caplog.at_level(logging.INFO, "histoquilt"), pytest.warns(RuntimeWarning, match="one is odd"):
        assert [outcome.value for outcome in run_each(speak, {"one": ("one",)}, workers=workers)] == ["one"]
    assert caplog.messages == ["working on one"]


def test_both_workers_work_and_no_result_runs_ahead(dask_workers):
    started = []

    def items():
        for number in range(7):
            started.append(number)
            yield str(number), ()

    class Listed(dict):
        def items(self):
            return items()

    processes = set()
    for n_taken, outcome in enumerate(run_each(os.getpid, Listed(), workers=dask_workers), start=1):
        processes.add(outcome.value)
        assert len(started) <= n_taken + 2
    assert n_taken == 7
    assert os.getpid() not in processes


def test_a_worker_has_as_many_threads_as_it_was_given(dask_workers):
    def threads():
        import torch
        from threadpoolctl import threadpool_info

        pools = [pool["num_threads"] for pool in threadpool_info()]
        return {torch.get_num_threads(), int(os.environ["OMP_NUM_THREADS"]), *pools}

    (outcome,) = run_each(threads, {"a": ()}, workers=dask_workers)
    assert outcome.value == {1}


def test_an_item_that_kills_its_worker_is_named_and_the_rest_finish(dask_workers):
    def work(deadly):
        if deadly:
            os.kill(os.getpid(), 9)
        return "done"

    found = by_name(run_each(work, {"a": (False,), "b": (True,), "c": (False,)}, workers=dask_workers))
    assert (found["a"].value, found["c"].value) == ("done", "done")
    with pytest.raises(WorkerError, match=r"were lost 2 times.*use fewer workers with more memory"):
        raise found["b"].error


@dataclass(frozen=True)
class Job:
    files: tuple[Path, ...]
    n: int


def test_paths_are_whole_where_they_are_read(dask_workers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (outcome,) = run_each(str, {"a": (Job((Path("new.txt"),), 3),)}, workers=dask_workers)
    assert outcome.value == str(Job((tmp_path / "new.txt",), 3))


def test_a_folder_that_a_worker_does_not_see(dask_workers, tmp_path, monkeypatch):
    class Local(type(tmp_path)):
        """A path that exists for this process only."""

        def exists(self, **more):
            return True

        def absolute(self):
            return self

        def __reduce__(self):
            return Path, (str(self),)

    here = Local(tmp_path / "local.h5ad")
    (outcome,) = run_each(len, {"a": (here,)}, workers=dask_workers)
    with pytest.raises(WorkerError, match=rf"on worker tcp://.*{socket.gethostname()}.*local.h5ad: the folder must be"):
        raise outcome.error


def test_another_version_of_histoquilt(dask_workers, monkeypatch):
    version = histoquilt.__version__
    monkeypatch.setattr(histoquilt, "__version__", "99.0")
    with pytest.raises(WorkerError, match=rf"has histoquilt {re.escape(version)}, and this process 99.0"):
        _check_workers(dask_workers)
    (outcome,) = run_each(divmod, {"a": (7, 2)}, workers=dask_workers)
    with pytest.raises(WorkerError, match=rf"has histoquilt {re.escape(version)}, and this process 99.0"):
        raise outcome.error


def test_an_error_that_cannot_travel_keeps_its_words(dask_workers):
    def fail():
        class OddError(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")

        raise OddError("this", "that")

    (outcome,) = run_each(fail, {"a": ()}, workers=dask_workers)
    assert "OddError: this and that" in str(outcome.error)
    assert "in fail" in "".join(outcome.error.__notes__)


def test_addresses_at_which_there_is_no_cluster(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"'nowhere' is not a Dask scheduler. Give local"), connect("nowhere"):
        pass
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": "tcp://"}))
    with (
        pytest.raises(ConnectionError, match=r"no Dask scheduler answers at .*json \(missing port"),
        connect(str(file)),
    ):
        pass
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setattr("histoquilt.runtime._dask._ANSWER_S", 0.2)
        with pytest.raises(ConnectionError, match=rf"no Dask scheduler answers at {address} .*local"), connect(address):
            pass


def test_the_extra_is_named(monkeypatch):
    def missing(module):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(_optional, "import_module", missing)
    with pytest.raises(ImportError, match=r"Dask cluster needs distributed.*histoquilt\[dask\]"), connect("local"):
        pass


def test_a_cluster_of_this_machine_is_gone_afterwards():
    def where(dask_worker):
        return os.getpid(), Path(dask_worker.local_directory)

    with connect("local", at_most=1) as workers:
        ((process, folder),) = workers.client.run(where).values()
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
