"""The front door: help, version, typos, exit codes."""

import os
import subprocess
import sys

import pytest

import histoquilt
from histoquilt.cli import run
from histoquilt.jobs.work._errors import JobError

HEAVY = ("numpy", "pandas", "anndata", "scanpy", "torch", "sklearn", "matplotlib")


@pytest.mark.parametrize(("given", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_unless_the_user_decided(given, found):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    code = (
        "import atexit, os, sys; from histoquilt.cli import main; "
        "atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)); main(['--version'])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.split()[-2:] == [found, "False"]


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from histoquilt.cli import run; run(['domains', '--help']); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--n-domains" in result.stdout
    assert result.stderr.strip() == "[]"


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"histoquilt {histoquilt.__version__}"


def test_without_a_command_it_shows_help(capsys):
    assert run([]) == 0
    assert "domains" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["domans"], "Did you mean 'domains'"),
        (["domains", "a.h5ad", "--n-domain", "3"], "--n-domains"),
        (["domains"], "Missing argument 'INPUT"),
        (["domains", "a.h5ad", "-k", "3"], "Missing option '--out'"),
        (["domains", "a.h5ad", "-o", "x", "-k", "many"], "a number (7), a range (5-12) or auto, got 'many'"),
        (["domains", "a.h5ad", "-o", "x", "-k", "3", "--seed", "-1"], "--seed"),
        (["domains", "a.h5ad", "-o", "x", "-k", "0"], "--n-domains must be at least 2, got 0"),
        (["domains", "a.h5ad", "-o", "x", "-k", "3", "--device", "gpu"], "unknown --device 'gpu'. Use auto"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(refused, arguments, words):
    assert words in refused(*arguments)


def test_the_traceback_is_there_for_who_asks(monkeypatch, capsys):
    arguments = ["domains", "nowhere.h5ad", "-k", "3", "-o", "x"]
    assert run([*arguments, "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("HISTOQUILT_DEBUG", "1")
    assert run(arguments) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("HISTOQUILT_DEBUG", "0")
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (JobError("a fault\nin two lines"), "histoquilt: a fault in two lines"),
        (MemoryError(), "not enough memory"),
        (OSError(28, os.strerror(28), "out.h5ad"), "out.h5ad: No space left on device."),
        (
            IndexError("index 3"),
            "unexpected IndexError: index 3. This may be a fault in histoquilt: run again with --debug",
        ),
        (KeyError("a key with no quotes"), "unexpected KeyError: a key with no quotes."),
    ],
)
def test_whatever_happens_is_one_line(monkeypatch, refused, error, words):
    def fail():
        raise error

    monkeypatch.setattr("histoquilt.cli._doctor.examine", fail)
    assert words in refused("doctor")


def test_our_own_errors_speak_for_themselves(refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    line = refused("domains", "a.h5ad", "-k", 3, "-o", tmp_path / "out")
    assert "already holds results" in line
    assert "unexpected" not in line


def test_ctrl_c_exits_130(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("histoquilt.cli._doctor.examine", interrupt)
    assert run(["doctor"]) == 130
    assert capsys.readouterr().err.strip().endswith("histoquilt: interrupted; nothing was written.")


@pytest.mark.parametrize("name", ["Größe.h5ad", "切片.h5ad", "samples.csv"])
def test_a_forced_ascii_locale_and_names_in_other_letters(section, quick, tmp_path, name):
    folder = tmp_path / "Gewebe_ü"
    folder.mkdir()
    section.write_h5ad(folder / ("öl.h5ad" if name == "samples.csv" else name))
    if name == "samples.csv":
        (folder / name).write_text("section,counts,Gewebe\nöl,öl.h5ad,Drüse\n", encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "histoquilt", "domains", folder / name, "-k", "3", "-o", folder / "out"]
    command += ["--config", quick, "--denoise", "none", "--levels", "none", "--stability", "none"]
    done = subprocess.run(command, env={**os.environ, **ascii_only}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = "öl.h5ad" if name == "samples.csv" else name
    assert (folder / "out" / written).is_file()
