"""``histoweave domains`` from files to files."""

import json

import anndata as ad
import pandas as pd
import pytest

import histoweave
from histoweave.cli import run
from histoweave.cli._domains import section_names
from histoweave.cli._errors import CommandError
from histoweave.cli._record import sha256


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def done(section_file, quick, tmp_path, capsys):
    """One finished run: its folder and what it printed."""
    out = tmp_path / "results"
    arguments = ["domains", section_file, "-k", 3, "-o", out, "--seed", 5, "--config", quick]
    assert run(list(map(str, arguments))) == 0
    return out, capsys.readouterr()


def test_the_folder_holds_everything(done, section_file, section):
    out, printed = done
    assert files(out) == ["domains.csv", "domains.png", "report.html", "run.json", "toy.h5ad"]
    assert files(out.parent) == ["quick.json", "results", "toy.h5ad"]

    table = pd.read_csv(out / "domains.csv", dtype=str)
    assert list(table) == ["section", "obs_name", "domain"]
    assert list(table["obs_name"]) == list(section.obs_names)
    assert set(table["section"]) == {"toy"}
    assert set(table["domain"]) == {"1", "2", "3"}

    written = ad.read_h5ad(out / "toy.h5ad")
    assert list(written.obs["domain"].astype(str)) == list(table["domain"])
    assert written.obsm["X_spamask"].shape[0] == section.n_obs
    assert (written.X != section.X).nnz == 0

    assert (out / "domains.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.html").read_text()
    assert "Domains of toy" in report
    assert "Report:" in printed.out
    assert "toy: 240 spots, 3 domains" in printed.out


def test_the_facts_of_the_run(done, section_file, quick):
    out, _ = done
    facts = json.loads((out / "run.json").read_text())
    assert facts["version"] == histoweave.__version__
    assert facts["command"] == "domains"
    assert (facts["seed"], facts["n_domains"], facts["device"]) == (5, 3, facts["device"])
    assert facts["arguments"]["config"] == str(quick)
    assert facts["inputs"] == [{"section": "toy", "path": str(section_file), "sha256": sha256(section_file)}]
    assert set(facts["timings"]) >= {"read", "domains", "markers", "write"}
    assert 0 < sum(facts["timings"].values()) <= facts["wall_s"] + 0.01
    assert facts["peak_rss_mb"] > 100
    assert facts["outputs"] == ["domains.csv", "domains.png", "report.html", "toy.h5ad"]
    assert facts["packages"]["torch"]


def test_the_same_seed_gives_the_same_domains(done, section_file, quick, tmp_path):
    out, _ = done
    again = tmp_path / "again"
    command = ["domains", section_file, "-k", 3, "-o", again, "--seed", 5, "--config", quick]
    assert run(list(map(str, command))) == 0
    assert (again / "domains.csv").read_bytes() == (out / "domains.csv").read_bytes()


def test_an_earlier_run_is_refused_then_replaced(done, section_file, quick, refused):
    out, _ = done
    command = ["domains", section_file, "-k", 2, "-o", out, "--config", quick, "--quiet"]
    assert "already holds results" in refused(*command)
    assert json.loads((out / "run.json").read_text())["n_domains"] == 3
    assert run([*map(str, command), "--overwrite"]) == 0
    assert json.loads((out / "run.json").read_text())["n_domains"] == 2


def test_quiet_says_nothing(section_file, quick, tmp_path, capsys):
    command = ["domains", section_file, "-k", 2, "-o", tmp_path / "out", "--config", quick, "--quiet"]
    assert run(list(map(str, command))) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(line.startswith("histoweave: warning: ") for line in printed.err.splitlines())


def test_several_sections_are_segmented_one_by_one(section, section_file, quick, tmp_path, capsys):
    section[::2].copy().write_h5ad(tmp_path / "half.h5ad")
    out = tmp_path / "out"
    command = ["domains", section_file, tmp_path / "half.h5ad", "-k", 2, "-o", out, "--config", quick]
    assert run(list(map(str, command))) == 0
    assert "2 sections, each segmented on its own" in capsys.readouterr().err
    assert files(out) == ["domains.csv", "domains.png", "half.h5ad", "report.html", "run.json", "toy.h5ad"]
    counts = pd.read_csv(out / "domains.csv")["section"].value_counts()
    assert counts.to_dict() == {"toy": 240, "half": 120}


def test_sections_within_a_file(section, quick, tmp_path):
    section.obs["slice"] = ["s1", "s2"] * 120
    section.obsm["spatial"][1::2] += 1e5
    section.write_h5ad(tmp_path / "both.h5ad")
    out = tmp_path / "out"
    command = ["domains", tmp_path / "both.h5ad", "-k", 2, "-o", out, "--config", quick, "--section-key", "slice"]
    assert run(list(map(str, command))) == 0
    assert pd.read_csv(out / "domains.csv")["section"].value_counts().to_dict() == {"s1": 120, "s2": 120}
    graph = ad.read_h5ad(out / "both.h5ad").obsp["spatial_connectivities"].tocoo()
    assert ((graph.row % 2) == (graph.col % 2)).all()


def test_from_principal_components_alone(section, quick, tmp_path):
    """A section without any counts, as published with PCs only."""
    bare = ad.AnnData(obs=section.obs, obsm={"spatial": section.obsm["spatial"]})
    bare.obsm["X_pca"] = section.X.log1p().toarray()[:, :20]
    bare.write_h5ad(tmp_path / "pcs.h5ad")
    out = tmp_path / "out"
    command = ["domains", tmp_path / "pcs.h5ad", "-k", 3, "-o", out, "--config", quick, "--use-rep", "X_pca"]
    assert run(list(map(str, command))) == 0
    assert "report.html" in files(out)
    assert "domain_markers" not in ad.read_h5ad(out / "pcs.h5ad").uns


def test_warnings_reach_stderr_and_the_record(section, quick, tmp_path, capsys):
    section.X[7].data[:] = 0
    counts = section.X.tolil()
    counts[7] = 0
    section.X = counts.tocsr()
    section.write_h5ad(tmp_path / "gap.h5ad")
    out = tmp_path / "out"
    assert run(list(map(str, ["domains", tmp_path / "gap.h5ad", "-k", 2, "-o", out, "--config", quick]))) == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if "no counts; they are kept" in line]
    assert line.startswith("histoweave: warning: 1 of 240 spots")
    assert any("1 of 240 spots" in text for text in json.loads((out / "run.json").read_text())["warnings"])
    assert len(pd.read_csv(out / "domains.csv")) == 240


def test_names_of_folders_keep_their_dots(tmp_path):
    (tmp_path / "patient.7").mkdir()
    (tmp_path / "brain.zarr").mkdir()
    assert section_names([tmp_path / "patient.7", tmp_path / "brain.zarr"]) == ["patient.7", "brain"]
    with pytest.raises(CommandError, match=r"both named 'brain'.*rename one"):
        section_names([tmp_path / "brain.zarr", tmp_path / "brain.h5ad"])


@pytest.mark.real_data
@pytest.mark.slow
def test_a_real_visium_section(data_dir, tmp_path):
    out = tmp_path / "out"
    assert run(["domains", str(data_dir / "dlpfc" / "151673.h5ad"), "-k", "7", "-o", str(out)]) == 0
    table = pd.read_csv(out / "domains.csv")
    truth = ad.read_h5ad(data_dir / "dlpfc" / "151673.h5ad", backed="r").obs["layer_guess"]
    assert table["domain"].nunique() == 7
    assert histoweave.metrics.ari(truth, table["domain"]) > 0.4
    facts = json.loads((out / "run.json").read_text())
    assert facts["n_spots"] == {"151673": 3639}
