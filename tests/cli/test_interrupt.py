"""A run that is stopped in the middle leaves nothing behind."""

import signal
import subprocess
import sys
import time

import pytest

from histoquilt.runtime import is_main

# the program as it is, except that it says when training has begun
PROGRAM = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started with it ignored
import histoquilt.models as models
from histoquilt.cli import main
fit = models.SpaMask.fit_run
def announced(self, *arguments, **more):
    print("training", flush=True)
    return fit(self, *arguments, **more)
models.SpaMask.fit_run = announced
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "terminated"])
def test_stopped_in_mid_training(section_file, tmp_path, stop, code):
    endless = tmp_path / "endless.json"
    endless.write_text('{"max_epochs": 1000000, "tolerance": 0.0}')
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        "domains",
        section_file,
        "--method",
        "spamask",
        "-k",
        3,
        "-o",
        tmp_path / "out",
    ]
    process = subprocess.Popen(
        [*map(str, command), "--config", str(endless)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "training\n", process.stderr.read()
        time.sleep(1)  # into the epochs
        assert process.poll() is None
        process.send_signal(stop)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code
    assert "Traceback" not in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["endless.json", "toy.h5ad"]
    if stop == signal.SIGINT:
        assert errors.splitlines()[-1] == "histoquilt: interrupted; nothing was written."


@pytest.mark.parametrize(("stop", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_whose_exception_is_lost_stops_all_the_same(section_file, tmp_path, stop, code):
    # what is raised in the callback of a weak reference goes nowhere
    while_collecting = f"""
    import os, weakref
    thing = type("Thing", (), {{}})()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.{stop}))
    del thing
    return fit(self, *arguments, **more)"""
    program = PROGRAM.replace("\n    return fit(self, *arguments, **more)", while_collecting)
    assert program != PROGRAM
    endless = tmp_path / "endless.json"
    endless.write_text('{"max_epochs": 1000000, "tolerance": 0.0}')
    command = [
        sys.executable,
        "-c",
        program,
        "domains",
        section_file,
        "--method",
        "spamask",
        "-k",
        3,
        "-o",
        tmp_path / "out",
    ]
    ended = subprocess.run(
        [*map(str, command), "--config", str(endless)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_stopped_while_writing(monkeypatch, section, tmp_path):
    from histoquilt import report
    from histoquilt.jobs.work._options import RunConfig
    from histoquilt.jobs.work._output import DomainResults, write_domain_results
    from histoquilt.jobs.work._run import start_run

    def interrupt(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write_report", interrupt)
    section.obs["domain"] = section.obs["domain_true"]
    with (
        pytest.raises(KeyboardInterrupt),
        start_run("domains", {"out": tmp_path / "out"}, RunConfig()) as run,
        run.results() as folder,
    ):
        write_domain_results(folder, DomainResults({"toy": section}, title="t"), dict)
    assert list(tmp_path.iterdir()) == []


def test_stopped_while_torch_is_loaded(monkeypatch):
    import torch.distributed  # noqa: F401  # what is left then

    monkeypatch.delitem(sys.modules, "torch")
    assert is_main()
    assert "torch" not in sys.modules  # importing it again fails
