"""The folder of unfinished work: who holds it, what counts as finished, and where OUT cannot be renamed."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from histoquilt.jobs.work._errors import Interrupted, JobError
from histoquilt.jobs.work._lock import locked
from histoquilt.jobs.work._output import check_out
from histoquilt.jobs.work._resume import JOB, digest_of, workplace


def test_two_runs_do_not_meet(tmp_path):
    with locked(tmp_path / "out.partial"):
        with pytest.raises(JobError, match=r"another run works on .*out.partial: process \d+ on this machine. Wait"):
            with locked(tmp_path / "out.partial"):
                pass
        assert (tmp_path / "out.partial" / "owner.json").exists()
    with locked(tmp_path / "out.partial"):
        pass
    assert list((tmp_path / "out.partial").iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from histoquilt.jobs.work._lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    folder = tmp_path / "out.partial"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JobError, match=f"process {holder.pid} on this machine"), locked(folder):
            pass
    finally:
        holder.kill()
        holder.communicate()
    assert json.loads((folder / "owner.json").read_text())["pid"] == holder.pid
    with locked(folder):
        assert json.loads((folder / "owner.json").read_text())["pid"] != holder.pid


def test_the_lock_of_another_machine_is_left_alone(tmp_path):
    folder = tmp_path / "out.partial"
    folder.mkdir()
    (folder / "owner.json").write_text(json.dumps({"pid": 7, "host": f"not-{socket.gethostname()}"}))
    with pytest.raises(JobError, match=r"process 7 on not-.* where it is gone, delete .*owner.json and start again"):
        with locked(folder):
            pass
    (folder / "owner.json").write_text("cut o")
    with locked(folder):
        pass


def test_an_item_is_finished_with_its_own_digest_and_whole_files(tmp_path):
    with workplace(tmp_path / "out", resume=True) as work:
        item = work.item("a", digest_of(seed=0))
        assert item.finished() is None
        item.file(".csv").write_text("x")
        item.finish([".csv"], {"n_spots": 3, "share": 0.1})
        assert item.finished() == {"n_spots": 3, "share": 0.1}
        assert work.item("a", digest_of(seed=1)).finished() is None
        item.file(".csv").write_text("longer")
        assert item.finished() is None
    assert list(tmp_path.iterdir()) == []


def put_together(work, name="result.csv", *, overwrite=False):
    """Do what a command does at its end."""
    with work.results(overwrite=overwrite) as folder:
        (folder / name).touch()
        (folder / "run.json").write_text(json.dumps({"outputs": [name], JOB: "job"}))


def test_what_is_not_kept_leaves_no_trace(tmp_path):
    deep = tmp_path / "new" / "deep" / "out"

    def fail():
        with workplace(deep, resume=False) as work:
            (work.done / "a.csv").touch()
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fail()
    assert list(tmp_path.iterdir()) == []
    with workplace(deep, resume=False) as work:
        put_together(work)
    assert [path.name for path in deep.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("resume", [False, True], ids=["", "resume"])
@pytest.mark.parametrize("place", ["cwd", "mount"])
def test_an_out_that_has_to_stay(tmp_path, monkeypatch, place, resume):
    out = tmp_path / "out"
    out.mkdir()
    if place == "mount":
        monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "out")
    else:
        monkeypatch.chdir(out)
        out = Path()
    check_out(out, overwrite=False, resume=resume)
    with workplace(out, resume=resume) as work:
        assert work.folder.absolute().parent == tmp_path / "out"
        put_together(work)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["result.csv", "run.json"]
    with pytest.raises(FileExistsError, match="already holds results"):
        check_out(out, overwrite=False)
    check_out(out, overwrite=True, resume=resume)
    with workplace(out, resume=resume) as work:
        put_together(work, "other.csv", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["other.csv", "run.json"]


def test_work_that_waits_inside_is_no_result_and_is_found_from_elsewhere(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()

    def stopped():
        with workplace(Path(), resume=True) as work:
            item = work.item("a", "digest")
            item.file(".csv").touch()
            item.finish([".csv"], {})
            raise KeyboardInterrupt

    with monkeypatch.context() as inside:
        inside.chdir(out)
        with pytest.raises(Interrupted, match="what is finished is kept in"):
            stopped()
    for resume in (False, True):
        check_out(out, overwrite=False, resume=resume)
    with workplace(out, resume=False) as work:  # another run passes by
        put_together(work)
    with workplace(out, resume=True) as work:
        assert work.item("a", "digest").finished() == {}
        assert work.is_done("job")
    assert sorted(path.name for path in out.iterdir()) == ["result.csv", "run.json"]


@pytest.mark.parametrize("n_moves", [0, 1, 2, 3, 4])
def test_killed_while_an_out_that_has_to_stay_is_exchanged(tmp_path, monkeypatch, n_moves):
    """Of two old and two new names some have moved; the same command may go on, another may not."""
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    with workplace(out, resume=True) as work:
        put_together(work, "old.csv")
    moves = iter(range(100))
    replace = Path.replace

    def killed(path, target):
        if path.name in ("old.csv", "new.csv", "run.json") and next(moves) == n_moves:
            raise SystemExit
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with workplace(out, resume=True) as work:
        work.item("a", "digest").finish([], {})
        if n_moves < 4:
            with pytest.raises(SystemExit):
                put_together(work, "new.csv", overwrite=True)
        else:
            put_together(work, "new.csv", overwrite=True)
        kept = [(path, path.read_bytes()) for path in work.folder.rglob("*.json")]
    for path, content in kept:  # a killed process removes nothing
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    check_out(out, overwrite=True, resume=True)
    with workplace(out, resume=True) as work:
        if n_moves == 4:
            assert work.is_done("job")
        else:
            put_together(work, "new.csv", overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["new.csv", "run.json"]
