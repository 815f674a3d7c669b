"""``--device`` and ``--threads``: understood by every command that runs a network, and recorded as they were used."""

import json
import os
import subprocess
import sys

import pytest
import torch

from histoquilt.cli import run
from histoquilt.datasets import toy_section

COMMANDS = {
    "domains": ["domains", "a.h5ad"],
    "train": ["train", "samples.csv"],
    "predict": ["predict", "model", "a.h5ad"],
    "evaluate": ["evaluate", "samples.csv"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_device_and_no_number_is_refused(command, refused, study_folder, tmp_path):
    arguments = [str(study_folder / "samples.csv") if one == "samples.csv" else one for one in COMMANDS[command]]
    if command == "predict":
        (tmp_path / "model").mkdir()
        arguments[1] = str(tmp_path / "model")
    arguments += ["--out", str(tmp_path / "out")]
    assert "unknown --device 'gpu'. Use auto" in refused(*arguments, "--device", "gpu")
    assert "--threads" in refused(*arguments, "--threads", "0")


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_network_on_metal_is_refused_before_images_are_read(command, refused, study_folder, tmp_path):
    method = ("--method", "spahgc") if command == "train" else ()  # evaluate has the networks by default
    told = refused(command, study_folder / "samples.csv", *method, "--device", "mps", "--out", tmp_path / "out")
    assert "torch cannot do on Metal" in told


def test_domains_record_threads_and_device(tmp_path):
    toy_section(n_spots=200, n_genes=40, n_domains=3, seed=0).write_h5ad(tmp_path / "a.h5ad")
    before, environment = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    out = tmp_path / "out"
    arguments = ["domains", str(tmp_path / "a.h5ad"), "-k", "3", "-q", "--device", "cpu", "--threads", str(before + 2)]
    assert run([*arguments, "-o", str(out)]) == 0
    record = json.loads((out / "run.json").read_text())
    assert (record["threads"], record["device"]) == (before + 2, "cpu")
    assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == (before, environment)


def test_training_and_prediction_record_where_they_were_computed(study_folder, tmp_path):
    model, out = tmp_path / "model", tmp_path / "out"
    small = ["--method", "ridge", "--field-um", "100", "--n-genes", "5", "-q", "--device", "cpu", "--threads", "1"]
    assert run(["train", str(study_folder / "samples.csv"), *small, "-o", str(model)]) == 0
    record = json.loads((model / "run.json").read_text())
    assert (record["threads"], record["device"], record["encoder_device"]) == (1, "cpu", "cpu")
    assert run(["predict", str(model), str(study_folder / "samples.csv"), "--threads", "1", "-q", "-o", str(out)]) == 0
    record = json.loads((out / "run.json").read_text())
    assert (record["threads"], record["device"], record["encoder_device"]) == (1, "cpu", "cpu")


WITHOUT_TORCH = """
import sys
from histoquilt.cli import run
code = run(["domains", "a.h5ad", "--n-domains", "3", "--out", "out", "--quiet"])
print(code, [name for name in ("torch", "scanpy", "numba") if name in sys.modules])
"""


def test_domains_of_the_default_load_no_torch(tmp_path):
    toy_section(n_spots=200, n_genes=60, n_domains=3, seed=0).write_h5ad(tmp_path / "a.h5ad")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split("\n")[-2] == "0 []"
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["device"] == "cpu"
    assert facts["threads"] >= 1
