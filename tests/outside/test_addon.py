"""A package of somebody else adds one of each kind, and the commands, ``evaluate`` and ``load`` use them by name."""

import json
import shutil
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import histoquilt as hq
from histoquilt._base import DOMAIN_MODELS, ENCODERS, EXPORTERS, EXPRESSION_MODELS, READERS, Registry
from histoquilt.cli import run


@pytest.fixture
def addon(tmp_path, monkeypatch):
    """The package, installed into a folder on the path."""
    folder = tmp_path / "site"
    shutil.copytree(Path(__file__).parent / "addon", folder)
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("quilt_addon", None)


def sheet(adata, path):
    table = pd.DataFrame(adata.X.toarray().astype(int), index=adata.obs_names, columns=adata.var_names)
    places = pd.DataFrame(adata.obsm["spatial"], index=adata.obs_names, columns=["x", "y"])
    pd.concat([places, table], axis=1).to_csv(path)


def test_without_the_package_its_names_are_unknown(tmp_path, capsys):
    for registry in (DOMAIN_MODELS, EXPRESSION_MODELS, ENCODERS, READERS, EXPORTERS):
        assert registry.others() == []
    assert run(["domains", "x.h5ad", "-k", "3", "--method", "neighborhoods", "-o", str(tmp_path / "out")]) == 2
    known = "Known: shared_factors, spatial_factors, averaged_pcs, spamask."
    assert f"--method: Unknown domain model 'neighborhoods'. {known}" in capsys.readouterr().err
    with pytest.raises(ValueError, match="Unknown encoder 'mean_color'"):
        hq.im.get_encoder("mean_color")


def test_names_are_listed(addon, capsys):
    assert EXPRESSION_MODELS.names()[-2:] == ["stack", "median"]
    assert DOMAIN_MODELS.names() == ["shared_factors", "spatial_factors", "averaged_pcs", "spamask", "neighborhoods"]
    assert "mean_color" in hq.im.list_encoders()["name"].tolist()


def test_domains_of_a_section_by_the_command(addon, tmp_path):
    """The reader reads the file, the domain model finds its domains, and is saved and loaded."""
    section = hq.datasets.toy_section(n_spots=600, n_genes=300, n_domains=3, seed=0)
    sheet(section, tmp_path / "tissue.sheet")
    out = tmp_path / "out"
    arguments = ["domains", str(tmp_path / "tissue.sheet"), "-k", "3", "--method", "neighborhoods", "-o", str(out)]
    (tmp_path / "settings.json").write_text('{"n_rounds": 3}')
    assert run([*arguments, "--config", str(tmp_path / "settings.json"), "--save-model", "-q"]) == 0
    [written] = out.glob("*.h5ad")
    found = ad.read_h5ad(written)
    kind = DOMAIN_MODELS.load("neighborhoods")
    hq.tl.spatial_domains(section, 3, model=kind(kind.config_class(n_rounds=3)), progress=False)
    assert hq.metrics.ari(found.obs["domain"], section.obs["domain"]) > 0.95
    assert hq.metrics.ari(found.obs["domain"], section.obs["domain_true"]) > 0.4
    assert "denoised" not in found.obsm
    assert found.uns["histoquilt"]["neighborhoods"]["config"]["n_rounds"] == 3
    assert (out / "report.html").exists()
    model = hq.models.load(out / "model")
    assert type(model).__name__ == "Neighborhoods"
    np.testing.assert_allclose(model.embed(found), found.obsm["X_domains"], atol=1e-5)
    assert len(model.domains.names) == 3


def test_exports_by_the_commands(addon, tmp_path, capsys):
    """``domains --export`` and ``export --to`` write with the exporter, and ``doctor`` lists it."""
    section = hq.datasets.toy_section(n_spots=300, n_genes=150, n_domains=3, seed=0)
    section.write_h5ad(tmp_path / "tissue.h5ad")
    results, out = tmp_path / "results", tmp_path / "out"
    arguments = ["domains", str(tmp_path / "tissue.h5ad"), "-k", "3", "--export", "lines,loupe", "-q"]
    assert run([*arguments, "-o", str(results)]) == 0
    exported = results / "exports" / "lines" / "tissue.txt"
    first, *_, last = exported.read_text().splitlines()
    domains = ad.read_h5ad(results / "tissue.h5ad").obs["domain"]
    assert first == f"{section.obs_names[0]} Domain {domains.iloc[0]}"
    assert last == f"{section.obs_names[-1]} Domain {domains.iloc[-1]}"
    assert "exports" in json.loads((results / "run.json").read_text())["outputs"]
    capsys.readouterr()
    assert run(["export", str(results), "--to", "lines", "-o", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "lines" / "tissue.txt")
    assert (out / "lines" / "tissue.txt").read_text() == exported.read_text()
    assert run(["doctor"]) == 0
    assert "yes  lines (Lines): <section>.txt" in capsys.readouterr().out


def test_an_exporter_that_is_none(addon, tmp_path):
    entry = addon / "quilt_addon-1.0.dist-info" / "entry_points.txt"
    entry.write_text(entry.read_text().replace("quilt_addon:LINES", "quilt_addon:MeanColor"))
    with pytest.raises(TypeError, match=r"The exporter 'lines' of an installed package must have label, files"):
        hq.io.export(hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2), tmp_path / "out", to="lines")


def test_domains_of_a_study_from_python(addon):
    two = hq.datasets.toy_section(n_spots=300, n_genes=150, n_domains=3, n_sections=2, seed=0)
    joint = hq.tl.integrate_sections(two, 3, model=DOMAIN_MODELS.load("neighborhoods")(), mixing=False, progress=False)
    assert hq.metrics.ari(joint.obs["domain"], joint.obs["domain_true"]) > 0.5
    with pytest.raises(TypeError, match=r"model= must be a histoquilt\.models\.DomainModel"):
        hq.tl.spatial_domains(two[:300].copy(), 3, model=object(), one_section=True)


def test_expression_by_the_commands(addon, tmp_path, capsys):
    """The encoder describes the images; the model is trained, predicts, and stands in the table of methods."""
    whole, pixels = hq.datasets.toy_slide(n_spots=240, n_genes=40, n_domains=3, seed=0, mpp=2)
    Image.fromarray(pixels).save(tmp_path / "he.png")
    third = np.argsort(np.argsort(whole.obsm["spatial"][:, 0])) * 3 // whole.n_obs
    rows = []
    for number in range(3):
        adata = whole[third == number].copy()
        del adata.uns["spatial"]
        adata.write_h5ad(tmp_path / f"s{number}.h5ad")
        rows.append(f"s{number},s{number}.h5ad,he.png,p{number},2")
    table = tmp_path / "samples.csv"
    table.write_text("\n".join(["section,counts,image,patient,mpp", *rows]) + "\n")
    common = ["--encoder", "mean_color", "--field-um", "100", "-q"]
    model = tmp_path / "model"
    assert run(["train", str(table), "--method", "median", *common, "--out", str(model)]) == 0
    loaded = hq.models.load(model)
    assert loaded.method == "median"
    assert loaded.fitted.inputs.records[0]["encoder"] == "mean_color"
    assert (
        run(["predict", str(model), str(tmp_path / "he.png"), "--mpp", "2", "-q", "--out", str(tmp_path / "seen")]) == 0
    )
    predicted = ad.read_h5ad(next((tmp_path / "seen").glob("*.h5ad")))
    assert "predicted_median" in predicted.layers
    judged = tmp_path / "judged"
    assert run(["evaluate", str(table), "--methods", "median", *common, "--out", str(judged)]) == 0
    assert "median" in set(pd.read_csv(judged / "scores.csv")["method"])
    assert json.loads((judged / "run.json").read_text())["command"] == "evaluate"


def test_a_name_of_ours_cannot_be_taken(addon):
    ours = Registry("domain model", "histoquilt.domain_models", {"neighborhoods": "pathlib:PurePath"})
    with pytest.warns(UserWarning, match="wants to be the domain model 'neighborhoods', which is a name of histoquilt"):
        assert ours.names() == ["neighborhoods"]


def test_a_package_that_does_not_load_is_named(addon):
    (addon / "quilt_addon" / "__init__.py").write_text("import a_package_that_is_not_there\n")
    sys.modules.pop("quilt_addon", None)
    with pytest.raises(ImportError, match=r"'median' of the package quilt-addon could not be loaded .*not_there"):
        EXPRESSION_MODELS.load("median")


def test_a_reader_that_is_none(addon, tmp_path):
    entry = addon / "quilt_addon-1.0.dist-info" / "entry_points.txt"
    entry.write_text(entry.read_text().replace("quilt_addon:SPREADSHEET", "quilt_addon:MeanColor"))
    (tmp_path / "a.sheet").write_text("")
    with pytest.raises(TypeError, match=r"The reader 'spreadsheet' of an installed package must have label"):
        hq.io.read_section(tmp_path / "a.sheet")


def test_a_package_that_does_not_load_is_in_no_models_way(addon, tmp_path):
    section = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=2, seed=0)
    config = hq.models.SpaMaskConfig(max_epochs=2, n_hidden=16, n_latent=8, n_pcs=10)
    hq.models.SpaMask(config).fit(section, progress=False).save(tmp_path / "model")
    (addon / "quilt_addon" / "__init__.py").write_text("import a_package_that_is_not_there\n")
    sys.modules.pop("quilt_addon", None)
    assert isinstance(hq.models.load(tmp_path / "model"), hq.models.SpaMask)


def test_genes_are_refused_before_the_work_of_a_model_that_does_not_denoise(addon, monkeypatch):
    section = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=2, seed=0)
    kind = DOMAIN_MODELS.load("neighborhoods")
    monkeypatch.setattr(kind, "fit", lambda *_, **__: pytest.fail("worked"))
    with pytest.raises(ValueError, match=r"Neighborhoods does not denoise\. Pass denoise=False"):
        hq.tl.spatial_domains(section, 2, model=kind(), denoise=[section.var_names[0]], progress=False)
