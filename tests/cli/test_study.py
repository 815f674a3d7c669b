"""``histoquilt domains`` of several sections: integrated, written one by one, told what was done."""

import contextlib
import io
import json
import shutil

import anndata as ad
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.cli import run

QUICK = {"n_pcs": 20}  # as the fixture quick
BARE = ["--levels", "none", "--stability", "none", "--denoise", "none"]  # domains and nothing about them


def domains(*arguments):
    return run(["domains", *map(str, arguments)])


def facts_of(out):
    return json.loads((out / "run.json").read_text())


@pytest.fixture(scope="module")
def done(_three, tmp_path_factory):
    """Two files integrated, their model kept: the folder, and what was printed to stdout and stderr."""
    place = tmp_path_factory.mktemp("study")
    for name in ("s1", "s2"):
        _three[name].write_h5ad(place / f"{name}.h5ad")
    quick = place / "quick.json"
    quick.write_text(json.dumps(QUICK))
    files, out = [place / "s1.h5ad", place / "s2.h5ad"], io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
        code = domains(*files, "-k", 3, "-o", place / "out", "--seed", 5, "--config", quick, "--save-model")
    assert code == 0, err.getvalue()
    return place / "out", out.getvalue(), err.getvalue()


def test_the_folder_of_a_study(done, three):
    out = done[0]
    names = ["domains.csv", "domains.png", "model", "report.html", "run.json", "s1.h5ad", "s2.h5ad"]
    assert sorted(path.name for path in out.iterdir()) == names
    table = pd.read_csv(out / "domains.csv", dtype=str)
    assert list(table) == [
        "section",
        "obs_name",
        "domain",
        "domain_coarse_2",
        "domain_coarse_2_stability",
        "domain_stability",
    ]
    assert table.groupby("domain")["domain_coarse_2"].nunique().max() == 1
    assert table["section"].value_counts().to_dict() == {"s1": 150, "s2": 150}
    assert set(table["domain"]) == {"1", "2", "3"}
    assert (out / "domains.png").read_bytes().startswith(b"\x89PNG")
    for name in ("s1", "s2"):
        written = ad.read_h5ad(out / f"{name}.h5ad")
        assert list(written.obs_names) == list(three[name].obs_names)
        assert (written.X != three[name].X).nnz == 0
        assert (written.obsm["spatial"] == three[name].obsm["spatial"]).all()
        assert written.obsm["X_domains"].shape[0] == written.obsm["X_joint"].shape[0] == 150
        assert written.obs["domain_confidence"].between(0, 1).all()
        rows = table[table["section"] == name]
        assert list(rows["obs_name"]) == list(written.obs_names)
        assert list(rows["domain"]) == list(written.obs["domain"].astype(str))
        assert written.uns["histoquilt"]["integration"]["links"] == "expression"


def test_the_report_shows_the_sections_together(done):
    html = (done[0] / "report.html").read_text()
    assert "Domains of s1, s2" in html
    assert "All sections" in html
    assert "harmony" in html.lower()


def test_the_facts_of_a_study(done):
    facts = facts_of(done[0])
    assert facts["integrated"] is True
    assert facts["links"] == "expression"
    assert facts["skipped"] == {}
    assert (facts["seed"], facts["n_domains"]) == (5, 3)
    assert facts["n_spots"] == {"s1": 150, "s2": 150}
    assert facts["peak_rss_mb"] > 100
    assert 0 < sum(facts["timings"].values()) <= facts["wall_s"] + 0.01
    assert [one["path"] for one in facts["inputs"]] == [str(done[0].parent / f"{name}.h5ad") for name in ("s1", "s2")]
    assert "model" in facts["outputs"]


def test_what_is_said_of_a_study(done):
    _, out, err = done
    assert "2 sections are integrated; --separate finds the domains of each on its own" in err
    assert "No z_um is given" in err
    assert "mutual nearest neighbours in expression" in err
    assert out.splitlines()[:2] == ["s1: 150 spots, 3 domains", "s2: 150 spots, 3 domains"]


@pytest.mark.filterwarnings("ignore:.* genes")
def test_the_model_travels(done, three):
    """It names the domains of the section that the command was not given."""
    model = hq.models.load(done[0] / "model")
    unseen = three["s3"]
    model.assign_domains(unseen)
    assert list(unseen.obs["domain"].cat.categories) == ["1", "2", "3"]
    assert hq.metrics.ari(unseen.obs["domain_true"], unseen.obs["domain"]) > 0.1  # chance is 0
    assert model.training_facts["sections"] == ["s1", "s2"]


def test_the_same_seed_gives_the_same_study(done, three_files, quick, tmp_path):
    again = tmp_path / "again"
    assert domains(*three_files[:2], "-k", 3, "-o", again, "--seed", 5, "--config", quick, "-q") == 0
    assert (again / "domains.csv").read_bytes() == (done[0] / "domains.csv").read_bytes()


def test_the_model_is_replaced_with_the_results(done, three_files, quick, tmp_path, capsys):
    out = shutil.copytree(done[0], tmp_path / "earlier")
    command = [*three_files[:2], "-k", 2, "-o", out, "--config", quick, "-q", *BARE]
    assert domains(*command) == 2
    assert "already holds results" in capsys.readouterr().err
    assert domains(*command, "--overwrite") == 0
    assert not (out / "model").exists()
    assert facts_of(out)["n_domains"] == 2


def test_a_table_with_z_is_a_stack(three_files, samples, quick, tmp_path, capsys):
    """Linked in the order of z, not of the rows."""
    table = samples("section,counts,z_um,age", "top,s3.h5ad,200,7", "low,s1.h5ad,0,7", "mid,s2.h5ad,100,7")
    out = tmp_path / "out"
    assert domains(table, "-k", 3, "-o", out, "--config", quick, *BARE) == 0
    assert "No z_um" not in capsys.readouterr().err
    facts = facts_of(out)
    assert facts["links"] == "stack"
    assert [one["section"] for one in facts["inputs"]] == ["samples.csv", "top", "low", "mid"]
    assert list(pd.read_csv(out / "domains.csv")["section"].unique()) == ["top", "low", "mid"]
    top = ad.read_h5ad(out / "top.h5ad")
    assert top.uns["histoquilt"]["integration"]["sections"] == "low, mid, top"
    assert (top.obs["z_um"] == 200).all()
    assert (top.obs["age"] == 7).all()
    assert top.obsm["spatial_aligned"].shape == (150, 2)


def test_a_quiet_study(three_files, quick, tmp_path, capsys):
    assert domains(*three_files[:2], "-k", 3, "-o", tmp_path / "out", "--config", quick, "--quiet") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(line.startswith("histoquilt: warning: ") for line in printed.err.splitlines())


def test_links_can_be_chosen_and_k_searched(three_files, quick, tmp_path):
    out = tmp_path / "out"
    command = [*three_files[:2], "-k", "2-4", "--links", "none", "-o", out, "--config", quick, "-q", *BARE]
    assert domains(*command) == 0
    facts = facts_of(out)
    assert facts["links"] == "none"
    assert facts["n_domains"] in (2, 3, 4)
    assert facts["n_domains_asked"] == "2-4"
    assert "n_domains_curve" in ad.read_h5ad(out / "s1.h5ad").uns["histoquilt"]


@pytest.mark.parametrize("as_table", [False, True], ids=["files", "table"])
def test_going_on_without_a_bad_section(three_files, samples, quick, tmp_path, capsys, as_table):
    three_files[1].write_bytes(three_files[1].read_bytes()[:4000])
    table = samples("section,counts", *(f"{path.stem},{path.name}" for path in three_files))
    out = tmp_path / "out"
    inputs = [table] if as_table else three_files
    assert domains(*inputs, "-k", 3, "-o", out, "--config", quick, "--skip-bad", *BARE) == 0
    printed = capsys.readouterr()
    [line] = [line for line in printed.err.splitlines() if "left out: " in line]
    assert "s2.h5ad is truncated" in line
    assert "s2: left out" in printed.out
    facts = facts_of(out)
    assert list(facts["skipped"]) == ["s2"]
    assert "truncated" in facts["skipped"]["s2"]
    assert facts["n_spots"] == {"s1": 150, "s3": 150}
    assert facts["integrated"] is True
    assert not (out / "s2.h5ad").exists()


def test_one_that_is_left_is_segmented_on_its_own(three_files, quick, tmp_path, capsys):
    three_files[1].write_bytes(b"")
    command = [*three_files[:2], "-k", 3, "-o", tmp_path / "out", "--config", quick, "--skip-bad", "--links", "stack"]
    assert domains(*command, *BARE) == 0
    assert "There is one section, so --links stack has nothing to link" in capsys.readouterr().err
    facts = facts_of(tmp_path / "out")
    assert facts["integrated"] is False
    assert "links" not in facts


def test_sections_of_one_file_are_linked_on_demand(three, quick, tmp_path):
    joint = hq.io.concat_sections({name: three[name] for name in ("s1", "s2")})
    joint.obs["slice"] = joint.obs.pop("section")
    joint.write_h5ad(tmp_path / "joint.h5ad")
    out = tmp_path / "out"
    command = [tmp_path / "joint.h5ad", "--section-key", "slice", "--links", "stack", "-k", 3, "--config", quick, "-q"]
    assert domains(*command, *BARE, "-o", out) == 0
    assert sorted(path.name for path in out.glob("*.h5ad")) == ["s1.h5ad", "s2.h5ad"]
    assert list(ad.read_h5ad(out / "s2.h5ad").obs_names) == list(three["s2"].obs_names)
    assert facts_of(out)["links"] == "stack"


@pytest.mark.real_data
def test_two_real_sections(data_dir, tmp_path):
    """Small settings; the full ones are measured in benchmarks/integration.py."""
    config = tmp_path / "small.json"
    config.write_text('{"n_genes": 1000, "n_pcs": 50}')
    out = tmp_path / "out"
    files = [data_dir / "dlpfc" / f"{name}.h5ad" for name in ("151673", "151674")]
    assert domains(*files, "-k", 7, "-o", out, "--config", config, "-q", *BARE) == 0
    table = pd.read_csv(out / "domains.csv", dtype=str)
    assert table["section"].value_counts().to_dict() == {"151673": 3639, "151674": 3673}
    for name, path in zip(("151673", "151674"), files, strict=True):
        real = ad.read_h5ad(path, backed="r")
        found = table[table["section"] == name]
        assert list(found["obs_name"]) == list(real.obs_names)
        labelled = real.obs["layer_guess"].notna().to_numpy()
        truth = real.obs["layer_guess"].to_numpy()[labelled]
        assert hq.metrics.ari(truth, found["domain"].to_numpy()[labelled]) > 0.4
    mixing = ad.read_h5ad(out / "151673.h5ad").uns["histoquilt"]["mixing"]
    ilisi = mixing[(mixing["metric"] == "ilisi") & (mixing["sections"] == "all")].set_index("embedding")["value"]
    assert ilisi["histoquilt"] > ilisi["before"]
