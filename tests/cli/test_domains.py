"""``histoquilt domains`` from files to files."""

import contextlib
import io
import json
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import histoquilt
from histoquilt.cli import run
from histoquilt.jobs.work._record import sha256

QUICK = {"n_pcs": 20}  # as the fixture quick
BARE = ["--levels", "none", "--stability", "none", "--denoise", "none"]  # domains and nothing about them


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def done(_section, tmp_path_factory):
    """One finished run of toy.h5ad with quick.json, read only: its folder, and what was printed to stdout."""
    place = tmp_path_factory.mktemp("done")
    _section.write_h5ad(place / "toy.h5ad")
    (place / "quick.json").write_text(json.dumps(QUICK))
    arguments = ["domains", place / "toy.h5ad", "-k", 3, "-o", place / "results", "--seed", 5]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(list(map(str, [*arguments, "--config", place / "quick.json"])))
    assert code == 0, err.getvalue()
    return place / "results", out.getvalue()


def test_the_folder_holds_everything(done, section):
    out, printed = done
    assert files(out) == ["domains.csv", "domains.png", "report.html", "run.json", "toy.h5ad"]
    assert files(out.parent) == ["quick.json", "results", "toy.h5ad"]

    table = pd.read_csv(out / "domains.csv", dtype=str)
    levels = ["domain_coarse_2", "domain_coarse_2_stability", "domain_stability"]
    assert list(table) == ["section", "obs_name", "domain", *levels]
    assert table.groupby("domain")["domain_coarse_2"].nunique().max() == 1
    assert list(table["obs_name"]) == list(section.obs_names)
    assert set(table["section"]) == {"toy"}
    assert set(table["domain"]) == {"1", "2", "3"}

    written = ad.read_h5ad(out / "toy.h5ad")
    assert list(written.obs["domain"].astype(str)) == list(table["domain"])
    assert written.obsm["X_domains"].shape[0] == section.n_obs
    assert (written.X != section.X).nnz == 0

    assert (out / "domains.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.html").read_text()
    assert "Domains of toy" in report
    assert "Report:" in printed
    assert "toy: 240 spots, 3 domains" in printed


def test_the_facts_of_the_run(done):
    out, _ = done
    section_file, quick = out.parent / "toy.h5ad", out.parent / "quick.json"
    facts = json.loads((out / "run.json").read_text())
    assert facts["version"] == histoquilt.__version__
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


def test_an_earlier_run_is_refused_then_replaced(done, section_file, quick, refused, tmp_path):
    out = shutil.copytree(done[0], tmp_path / "results")
    command = ["domains", section_file, "-k", 2, "-o", out, "--config", quick, "--quiet", *BARE]
    assert "already holds results" in refused(*command)
    assert json.loads((out / "run.json").read_text())["n_domains"] == 3
    assert run([*map(str, command), "--overwrite"]) == 0
    assert json.loads((out / "run.json").read_text())["n_domains"] == 2


def test_quiet_says_nothing(section_file, quick, tmp_path, capsys):
    command = ["domains", section_file, "-k", 2, "-o", tmp_path / "out", "--config", quick, "--quiet"]
    assert run(list(map(str, command))) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(line.startswith("histoquilt: warning: ") for line in printed.err.splitlines())


def test_sections_kept_separate(section, section_file, quick, tmp_path, capsys):
    section[::2].copy().write_h5ad(tmp_path / "half.h5ad")
    command = ["domains", section_file, tmp_path / "half.h5ad", "-k", 2, "--config", quick, *BARE]
    assert run(list(map(str, [*command, "-o", tmp_path / "out", "--separate"]))) == 0
    assert "integrated" not in capsys.readouterr().err
    out = tmp_path / "out"
    assert files(out) == ["domains.csv", "domains.png", "half.h5ad", "report.html", "run.json", "toy.h5ad"]
    table = pd.read_csv(out / "domains.csv", dtype=str)
    assert table["section"].value_counts().to_dict() == {"toy": 240, "half": 120}
    assert json.loads((out / "run.json").read_text())["integrated"] is False
    # as if the other were not there
    command = ["domains", section_file, "-k", 2, "--config", quick, "-o", tmp_path / "alone", *BARE]
    assert run(list(map(str, command))) == 0
    alone = pd.read_csv(tmp_path / "alone" / "domains.csv", dtype=str)
    assert alone.equals(table[table["section"] == "toy"].reset_index(drop=True))


def test_the_number_of_domains_may_be_left_out(section, section_file, quick, tmp_path, capsys):
    section[::2].copy().write_h5ad(section_file)  # the search takes a while
    out = tmp_path / "out"
    assert run(list(map(str, ["domains", section_file, "-o", out, "--config", quick, *BARE]))) == 0
    facts = json.loads((out / "run.json").read_text())
    assert facts["n_domains_asked"] == "auto"
    assert 2 <= facts["n_domains"] <= 15
    assert facts["n_domains"] == pd.read_csv(out / "domains.csv")["domain"].nunique()
    assert f"{facts['n_domains']} of 2 to 15 chosen by stability" in capsys.readouterr().err


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


def test_refinement_is_chosen_by_name(section_file, quick, tmp_path):
    records = {}
    for name in ("majority", "potts", "none"):
        out = tmp_path / name
        command = ["domains", section_file, "-k", 3, "-o", out, "--config", quick, "--refine", name]
        assert run([*map(str, command), *BARE]) == 0
        records[name] = ad.read_h5ad(out / "toy.h5ad").uns["histoquilt"]["domain"]
    assert [bool(record["refined"]) for record in records.values()] == [True, True, False]
    assert [name for name, record in records.items() if "potts_beta" in record] == ["potts"]


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
    command = ["domains", tmp_path / "gap.h5ad", "-k", 2, "-o", out, "--config", quick, *BARE]
    assert run(list(map(str, command))) == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if "no counts; they are kept" in line]
    assert line.startswith("histoquilt: warning: 1 of 240 spots")
    assert any("1 of 240 spots" in text for text in json.loads((out / "run.json").read_text())["warnings"])
    assert len(pd.read_csv(out / "domains.csv")) == 240


@pytest.mark.real_data
@pytest.mark.slow
def test_a_real_visium_section(data_dir, tmp_path):
    out = tmp_path / "out"
    assert run(["domains", str(data_dir / "dlpfc" / "151673.h5ad"), "-k", "7", "-o", str(out)]) == 0
    table = pd.read_csv(out / "domains.csv")
    truth = ad.read_h5ad(data_dir / "dlpfc" / "151673.h5ad", backed="r").obs["layer_guess"]
    assert table["domain"].nunique() == 7
    assert histoquilt.metrics.ari(truth, table["domain"]) > 0.4
    facts = json.loads((out / "run.json").read_text())
    assert facts["n_spots"] == {"151673": 3639}


@pytest.mark.parametrize("shape", [(3, 40, 50), (40, 50, 5), (40, 50, 3)])
def test_an_image_that_cannot_be_drawn_costs_no_results(shape, section, quick, tmp_path, capsys):
    pixels = np.full(shape, 200.0)  # float, 0 to 255
    hires = {"images": {"hires": pixels}, "scalefactors": {"tissue_hires_scalef": 0.02}}
    section.uns["spatial"] = {"is_single": True, "lib": hires}
    section.write_h5ad(tmp_path / "toy.h5ad")
    out = tmp_path / "results"
    arguments = ["domains", tmp_path / "toy.h5ad", "-k", 3, "-o", out, "--config", quick, *BARE]
    assert run(list(map(str, arguments))) == 0
    assert files(out) == ["domains.csv", "domains.png", "report.html", "run.json", "toy.h5ad"]
    said = capsys.readouterr().err
    drawn = shape[-1] == 3
    size = " x ".join(map(str, shape))
    assert said.count(f"uns['spatial']['lib']['images']['hires'] of {size} (float64)") == (0 if drawn else 1)
    assert ("data:image/jpeg" in (out / "report.html").read_text()) == drawn


@pytest.mark.parametrize("as_table", [False, True], ids=["files", "table"])
def test_sections_on_their_own_need_not_belong_together(three, samples, tmp_path, quick, capsys, as_table):
    """One in pixels, one with other genes, one with a height."""
    three["s1"].uns["histoquilt"]["coordinates"] = {"unit": "pixel", "mpp": 1.0, "pitch_um": 100.0}
    three["s2"].var_names = [f"GENE{i}" for i in range(three["s2"].n_vars)]
    three["s3"].obs["z_um"] = 10.0
    for name, adata in three.items():
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    files = [tmp_path / f"{name}.h5ad" for name in three]
    table = samples("section,counts", *(f"{name},{name}.h5ad" for name in three))
    command = ["domains", *([table] if as_table else files), "-k", 3, "-o", tmp_path / "out", "--separate", "-q"]
    command += ["--config", quick, "--levels", "none", "--stability", "none", "--denoise", "none"]
    assert run([str(part) for part in command]) == 0, capsys.readouterr().err
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.h5ad")) == ["s1", "s2", "s3"]
