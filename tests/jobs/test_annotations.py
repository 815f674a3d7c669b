"""A pathologist's annotations in jobs: they judge domains and predictions, and never make them."""

import json

import numpy as np
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.cli import run

shapely = pytest.importorskip("shapely")
FAST = ["--method", "spatial_factors", "-k", "3", "--stability", "none", "--levels", "none", "--denoise", "none"]


@pytest.fixture
def drawing(tmp_path):
    """Draw the true domains of a section, but its second half only, as an annotation."""

    def draw(adata, name, **options):
        section = adata[: adata.n_obs // 2].copy()
        section.obs["domain"] = section.obs["domain_true"]
        [path] = hq.io.export({name: section}, tmp_path / f"out-{name}", to="qupath", mpp=1.0, **options)
        return path.rename(tmp_path / f"{name}.geojson")

    return draw


def test_one_command_from_a_drawing_to_a_score(section, section_file, drawing, tmp_path, capsys):
    drawn = drawing(section, "drawing")
    out = tmp_path / "out"
    arguments = ["domains", section_file, *FAST, "--annotations", drawn, "--annotations-scale", "1"]
    assert run([str(one) for one in [*arguments, "--out", out]]) == 0
    adata, record = hq.io.read_h5ad(out / "toy.h5ad"), json.loads((out / "run.json").read_text())
    annotated = adata.obs["annotation"].notna().to_numpy()
    assert annotated[:120].all()
    ari = hq.metrics.ari(adata.obs["annotation"], adata.obs["domain"])
    scores = record["annotation"]["toy"]
    assert scores["ari"] == pytest.approx(ari, abs=1e-6)
    assert scores["n_spots"] == annotated.sum()
    assert scores["n_regions"] == adata.obs["annotation"].nunique() == 3
    said = capsys.readouterr().out
    assert f"toy: agreement with the annotation: ARI {ari:.3f}, NMI" in said
    assert [entry.get("what") for entry in record["inputs"]] == [None, "annotations"]
    table = pd.read_csv(out / "annotation_counts.csv")
    crossed = pd.crosstab(adata.obs["domain"], adata.obs["annotation"])
    for row in table.itertuples():
        assert row.n_spots == crossed.loc[str(row.domain), row.region]
        assert row.stands_for == (crossed.loc[str(row.domain)].idxmax() == row.region)
    written = pd.read_csv(out / "annotation_scores.csv")
    assert written["ari"].tolist() == [pytest.approx(ari, abs=1e-6)]
    assert pd.read_csv(out / "domains.csv")["annotation"].notna().sum() == annotated.sum()
    page = (out / "report.html").read_text()
    assert "Domains and the annotation" in page
    assert f"Adjusted Rand index <b>{ari:.3f}</b>" in page


def test_annotations_change_no_domain(section, section_file, drawing, tmp_path):
    plain = hq.jobs.find_domains(section_file, tmp_path / "a", n_domains=3, denoise=False, progress=False)
    options = {"annotations": drawing(section, "d"), "annotations_scale": 1.0}
    judged = hq.jobs.find_domains(section_file, tmp_path / "b", n_domains=3, denoise=False, progress=False, **options)
    a, b = (hq.io.read_h5ad(done.out / "toy.h5ad") for done in (plain, judged))
    pd.testing.assert_series_equal(a.obs["domain"], b.obs["domain"])
    np.testing.assert_array_equal(a.obsm["X_domains"], b.obsm["X_domains"])
    assert plain.facts["annotation"] is None
    assert judged.facts["annotation"]["toy"]["ari"] > 0


def test_labels_of_the_file_are_compared_likewise(section_file, tmp_path, refused):
    options = {"n_domains": 3, "denoise": False, "levels": "none", "progress": False}
    done = hq.jobs.find_domains(section_file, tmp_path / "out", label_key="domain_true", **options)
    adata = hq.io.read_h5ad(done.out / "toy.h5ad")
    ari = hq.metrics.ari(adata.obs["domain_true"], adata.obs["domain"])
    assert done.facts["annotation"]["toy"]["ari"] == pytest.approx(ari, abs=1e-6)
    arguments = ["domains", section_file, "--out", tmp_path / "no", "--label-key"]
    assert "'layer' is not in obs of any section (found: " in refused(*arguments, "layer")
    assert "--label-key domain is a column of the results. Give" in refused(*arguments, "domain")


def test_a_study_has_a_score_for_each_annotated_section(three, three_files, drawing, tmp_path, capsys):
    folder = tmp_path / "drawn"
    folder.mkdir()
    for name in ("s1", "s3"):
        drawing(three[name], name).rename(folder / f"{name}.geojson")
    (folder / "s9.csv").write_text("Barcode,A\nx,y\n")
    arguments = ["domains", *three_files, *FAST[:-2], "--annotations", folder, "--annotations-scale", "1"]
    assert run([str(one) for one in [*arguments, "--out", tmp_path / "out"]]) == 0
    captured = capsys.readouterr()
    assert "Annotations of no section: 's9.csv'." in captured.err
    assert [line.split(":")[0] for line in captured.out.splitlines() if "agreement" in line] == ["s1", "s3"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert list(record["annotation"]) == ["s1", "s3"]
    sections = {name: hq.io.read_h5ad(tmp_path / "out" / f"{name}.h5ad") for name in ("s1", "s3")}
    for name, adata in sections.items():
        ari = hq.metrics.ari(adata.obs["annotation"], adata.obs["domain"])
        assert record["annotation"][name]["ari"] == pytest.approx(ari, abs=1e-6)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<h3>Domains and the annotation</h3>") == 3  # of the study and of two sections
    assert page.count('<table class="agreement">') == 1


def test_one_region_is_no_agreement(section, section_file, tmp_path):
    (tmp_path / "one.csv").write_text("Barcode,A\n" + "".join(f"{name},tumour\n" for name in section.obs_names[:50]))
    options = {"n_domains": 3, "denoise": False, "levels": "none", "progress": False}
    with pytest.warns(UserWarning, match="names one region only, 'tumour'. Spots outside are not scored"):
        done = hq.jobs.find_domains(section_file, tmp_path / "out", annotations=tmp_path / "one.csv", **options)
    assert done.facts["annotation"]["toy"]["ari"] is None
    assert "Only one region is annotated" in (done.out / "report.html").read_text()


def test_an_interrupted_run_is_not_resumed_with_another_drawing(section, section_file, drawing, tmp_path):
    drawn = drawing(section, "d")
    options = {"n_domains": 3, "denoise": False, "progress": False, "resume": True, "annotations_scale": 1.0}
    first = hq.jobs.find_domains(section_file, tmp_path / "out", annotations=drawn, **options)
    again = hq.jobs.find_domains(section_file, tmp_path / "out", annotations=drawn, **options)
    assert again.already_done
    drawn.write_text(drawn.read_text().replace("layer1", "cortex"))
    other = hq.jobs.find_domains(section_file, tmp_path / "out", annotations=drawn, overwrite=True, **options)
    assert not other.already_done
    assert first.facts["inputs"][0] == other.facts["inputs"][0]
    assert first.facts["inputs"][1]["sha256"] != other.facts["inputs"][1]["sha256"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["toy.h5ad", "--annotations", "no.geojson"], "there is no file or folder no.geojson (--annotations). Check"),
        (
            ["toy.h5ad", "s.h5ad", "--annotations", "a.csv"],
            "a.csv (--annotations) holds the annotations of one section.",
        ),
        (["samples.csv", "--annotations", "a.csv"], "name the files in the column annotations of a samples.csv"),
        (["toy.h5ad", "--annotations", "a.csv", "--section-key", "x"], "--section-key names several in one"),
        (["toy.h5ad", "--annotations-scale", "2"], "--annotations-scale needs --annotations."),
        (["toy.h5ad", "--annotations", "a.csv", "--annotations-scale", "-2"], "--annotations-scale must be positive"),
        (["toy.h5ad", "--annotations", "a.csv"], "toy.h5ad: a.csv names none of the 240 spots"),
        (
            ["toy.h5ad", "--annotations", "empty"],
            "no file of annotations in empty (--annotations) is named like a section",
        ),
        (
            ["toy.h5ad", "--annotations", "two"],
            "two has several files of annotations of 'toy': 'toy.csv', 'toy.geojson'.",
        ),
    ],
)
def test_wrong_annotations_are_one_line(section_file, refused, monkeypatch, tmp_path, samples, arguments, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("Barcode,A\nx,y\n")
    (tmp_path / "s.h5ad").write_bytes(section_file.read_bytes())
    for folder, names in (("empty", ["other.csv"]), ("two", ["toy.csv", "toy.geojson"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text("Barcode,A\nx,y\n")
    samples("section,counts", "a,toy.h5ad")
    assert told in refused("domains", *arguments, "--out", "out")
    assert not (tmp_path / "out").exists()


def test_predictions_carry_the_annotation_to_their_domains(study_folder, ridge_model, tmp_path, capsys):
    adata = hq.io.read_h5ad(study_folder / "s0.h5ad")
    corners = [[[0, 0], [9000, 0], [9000, 9000], [0, 9000], [0, 0]]]
    middle = float(np.median(adata.obsm["spatial"][:, 1]))
    half = [[[0, 0], [9000, 0], [9000, middle], [0, middle], [0, 0]]]
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": area}, "properties": {"name": name}}
        for area, name in ((corners, "low"), (half, "high"))
    ]
    drawn = tmp_path / "drawing.geojson"
    drawn.write_text(json.dumps(features))
    arguments = ["predict", ridge_model, study_folder / "s0.h5ad", "--image", study_folder / "he.png", "--mpp", "2"]
    assert run([str(one) for one in [*arguments, "--annotations", drawn, "--out", tmp_path / "p", "-q"]]) == 0
    predicted = hq.io.read_h5ad(tmp_path / "p" / "s0.h5ad")
    upper = adata.obsm["spatial"][:, 1] <= middle
    assert (predicted.obs["annotation"] == np.where(upper, "high", "low")).all()
    assert '<option value="annotation">' in (tmp_path / "p" / "report.html").read_text()
    record = json.loads((tmp_path / "p" / "run.json").read_text())
    assert record["inputs"][-1]["what"] == "annotations"
    slide = ["predict", ridge_model, study_folder / "he.png", "--mpp", "2", "--annotations", drawn]
    assert run([str(one) for one in [*slide, "--out", tmp_path / "slide", "-q"]]) == 0
    bare = hq.io.read_h5ad(tmp_path / "slide" / "he.h5ad")
    assert (bare.obs["annotation"] == np.where(bare.obsm["spatial"][:, 1] <= middle, "high", "low")).all()
    capsys.readouterr()
    again = ["domains", tmp_path / "slide" / "he.h5ad", *FAST, "--out", tmp_path / "found"]
    assert run([str(one) for one in again]) == 0
    assert "he: agreement with the annotation: ARI" in capsys.readouterr().out


def test_evaluate_compares_domains_with_the_annotations(study_folder, tmp_path, refused, capsys):
    study, table = {}, study_folder / "samples.csv"
    folder = tmp_path / "drawn"
    folder.mkdir()
    for name in ("s0", "s1", "s2"):
        study[name] = hq.io.read_h5ad(study_folder / f"{name}.h5ad")
        study[name].obs["X"] = 1
        labels = study[name].obs["domain_true"].astype(str)
        text = "".join(f"{spot},{label}\n" for spot, label in zip(labels.index, labels, strict=True))
        (folder / f"{name}.csv").write_text("Barcode,Pathologist\n" + text)
    arguments = ["evaluate", table, "--methods", "mean", "--field-um", "100", "--n-genes", "10"]
    given = [*arguments, "--annotations", folder, "--out", tmp_path / "a"]
    assert run([str(one) for one in given]) == 0
    assert "Domains against the annotation, mean ARI: " in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "a" / "domains.csv")
    assert {"image_only", "measured", "ridge"} <= set(found["method"])
    assert set(found["section"]) == {"s0", "s1", "s2"}
    told = refused(*arguments, "--annotations", folder, "--label-key", "domain_true", "--out", tmp_path / "b")
    assert "--annotations and --label-key both name what domains are compared with. Choose one." in told
    assert "(--annotations) holds the annotations of one section" in refused(
        *arguments, "--annotations", folder / "s0.csv", "--out", tmp_path / "b"
    )
    lines = table.read_text().splitlines()
    lines = [f"{lines[0]},annotations", *(f"{line},../drawn/{line[:2]}.csv" for line in lines[1:])]
    table.write_text("\n".join(lines) + "\n")
    assert "the table has a column annotations. Leave --annotations out" in refused(*given[:-1], tmp_path / "b")
    assert run([str(one) for one in [*arguments, "--out", tmp_path / "c", "-q"]]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "c" / "domains.csv"), found)
