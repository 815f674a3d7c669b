"""Results in files, exported; and exports written beside the results of other jobs."""

import json

import numpy as np
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.cli import run


@pytest.fixture
def folder(tmp_path):
    for number in range(2):
        adata, _ = hq.datasets.toy_slide(n_spots=150, n_genes=60, n_domains=3, mpp=4, seed=0)
        adata.obs["domain"] = adata.obs["domain_true"]
        hq.io.write_h5ad(adata, tmp_path / "results" / f"s{number}.h5ad")
    return tmp_path


def test_a_folder_of_results_and_single_files(folder):
    pytest.importorskip("shapely")
    gene = hq.io.read_h5ad(folder / "results" / "s0.h5ad").var_names[0]
    done = hq.jobs.export_results(folder / "results", folder / "out", to="qupath,loupe", genes=gene)
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["command"] == "export"
    assert record["n_spots"] == {"s0": 150, "s1": 150}
    assert record["files"] == done.facts["files"]
    assert record["files"][:3] == ["qupath/s0.geojson", "qupath/s0_spots.geojson", "loupe/s0.csv"]
    assert all((folder / "out" / name).is_file() for name in record["files"])
    assert set(record["outputs"]) == {"qupath", "loupe"}
    hq.jobs.export_results([folder / "results" / "s1.h5ad"], folder / "out", to=["loupe"], overwrite=True)
    assert [path.name for path in (folder / "out").iterdir() if path.is_dir()] == ["loupe"]


def test_a_file_of_several_sections(folder):
    sections = {name: hq.io.read_h5ad(folder / "results" / f"{name}.h5ad") for name in ("s0", "s1")}
    hq.io.write_h5ad(hq.io.concat_sections(sections), folder / "joint.h5ad")
    done = hq.jobs.export_results(folder / "joint.h5ad", folder / "out", to="loupe")
    assert done.facts["files"] == ["loupe/s0.csv", "loupe/s1.csv"]
    barcodes = pd.read_csv(folder / "out" / "loupe" / "s1.csv")["Barcode"]
    np.testing.assert_array_equal(barcodes, sections["s1"].obs_names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["results", "--to", "qupat"], "--to: Unknown exporter 'qupat'. Did you mean 'qupath'? Known: qupath, loupe,"),
        (["results"], "--to is missing. Name one or more of qupath, loupe,"),
        (["results", "--to", "loupe,"], "--to is one or more names separated by commas, got 'loupe,'."),
        (["nowhere", "--to", "loupe"], "nowhere does not exist. Give results: a folder that histoquilt domains wrote"),
        (["empty", "--to", "loupe"], "empty holds no .h5ad. Give results"),
        (["results", "--to", "loupe", "--keys", "domian"], "'domian' is not in"),
        (["results", "--to", "seurat", "--genes", "NOPE"], "s0: Gene 'NOPE' is neither in"),
        (["results", "--to", "qupath", "--mpp", "0"], "--mpp must be positive, got 0.0."),
        (["results", "results/s0.h5ad", "--to", "loupe"], "'s0' and 's0' would have the same file names (s0)"),
    ],
)
def test_a_wrong_command_is_one_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    assert run(["export", *arguments, "-q", "-o", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "out").exists()


def test_a_folder_that_exists(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run(["export", "results", "--to", "loupe", "-o", "out"]) == 0
    assert capsys.readouterr().out.splitlines() == ["out/loupe/s0.csv", "out/loupe/s1.csv"]
    assert run(["export", "results", "--to", "loupe", "-o", "out"]) == 2
    assert "out already holds results. Choose another folder, or pass --overwrite." in capsys.readouterr().err
    assert run(["export", "results", "--to", "loupe", "-o", "results", "--overwrite"]) == 2
    assert "files that are not results of histoquilt" in capsys.readouterr().err


def test_an_export_that_fails_leaves_the_results(tmp_path):
    """The toy section is in microns, and QuPath needs pixels: the domains are written, and the other export."""
    section = hq.datasets.toy_section(n_spots=150, n_genes=60, n_domains=3, seed=0)
    section.write_h5ad(tmp_path / "tissue.h5ad")
    pytest.importorskip("shapely")
    with pytest.warns(UserWarning, match=r"export to qupath is left out; the results are written\. .*mpp"):
        done = hq.jobs.find_domains(
            tmp_path / "tissue.h5ad",
            tmp_path / "out",
            n_domains=3,
            export=["qupath", "loupe"],
            stability="none",
            progress=False,
        )
    assert [path.name for path in (done.out / "exports").iterdir()] == ["loupe"]
    assert any("export to qupath" in warning for warning in done.facts["warnings"])
    with pytest.raises(hq.jobs.JobError, match=r"export: Unknown exporter 'lupe'\. Did you mean 'loupe'"):
        hq.jobs.DomainsConfig(export="lupe")


def test_a_prediction_is_exported(tmp_path):
    pytest.importorskip("shapely")
    study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    hq.io.record_coordinates(study["s3"], "pixel", mpp=1.0)
    study["s3"].write_h5ad(tmp_path / "s3.h5ad")
    model = hq.models.RidgeOnEmbedding().fit([study["s1"], study["s2"]], use_rep="X_image", progress=False)
    model.save(tmp_path / "model")
    done = hq.jobs.predict_folder(
        tmp_path / "model", tmp_path / "s3.h5ad", tmp_path / "out", export="qupath,loupe", progress=False
    )
    spots = json.loads((done.out / "exports" / "qupath" / "s3_spots.geojson").read_text())["features"]
    assert len(spots) == 60
    assert len(spots[0]["properties"]["measurements"]) == 10
    assert pd.read_csv(done.out / "exports" / "loupe" / "s3.csv").shape == (60, 11)
