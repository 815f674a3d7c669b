"""Every command says where raw counts were found, and takes counts with fractions that are declared."""

import json

import anndata as ad
import numpy as np
import pytest

from histoweave.cli import run

RAW = 'adata.raw holds raw counts for {n} genes: adata.layers["counts"] = adata.raw.X (in Python; write the file again'


def into_raw(adata):
    adata.raw = adata.copy()
    adata.X = adata.X.log1p()


def into_a_layer(adata):
    adata.layers["raw_counts"] = adata.X.copy()
    adata.X = adata.X.log1p()


def as_fractions(adata):
    adata.X = adata.X * np.float32(0.93)


@pytest.fixture
def rewrite():
    def change(path, how, declared=None):
        adata = ad.read_h5ad(path)
        adata.uns.pop("histoweave", None)
        how(adata)
        if declared:
            adata.uns["histoweave"] = {"scale": {"X": declared}}
        adata.write_h5ad(path)
        return adata.n_vars

    return change


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (into_raw, RAW),
        (into_a_layer, 'layers["raw_counts"] holds whole numbers: --layer raw_counts.'),
        (as_fractions, "declare it: adata.uns['histoweave'] = {{'scale': {{'X': 'counts'}}}}"),
    ],
)
@pytest.mark.parametrize("command", ["domains", "train", "evaluate"])
def test_commands_say_where_counts_are(rewrite, study_folder, refused, tmp_path, command, how, words):
    n_vars = rewrite(study_folder / "s1.h5ad", how)
    extra = {"domains": ["-k", 2], "train": ["--method", "mean"], "evaluate": ["--methods", "mean"]}[command]
    told = refused(command, study_folder / "samples.csv", *extra, "-q", "-o", tmp_path / "out")
    assert "s1" in told
    assert words.format(n=n_vars) in told
    assert told.count("in Python") <= 1
    assert not (tmp_path / "out").exists()


def test_the_flag_in_the_message_works(rewrite, section_file, quick, tmp_path):
    rewrite(section_file, into_a_layer)
    arguments = ["-k", "3", "--config", str(quick), "-q", "-o", str(tmp_path / "out")]
    assert run(["domains", str(section_file), "--layer", "raw_counts", *arguments]) == 0


def test_declared_counts_with_fractions_are_taken(rewrite, section_file, quick, tmp_path):
    rewrite(section_file, as_fractions, "counts")
    arguments = ["-k", "3", "--config", str(quick), "-q", "-o", str(tmp_path / "out")]
    assert run(["domains", str(section_file), *arguments]) == 0
    told = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
    assert any("declared counts, but holds fractions" in line for line in told)
