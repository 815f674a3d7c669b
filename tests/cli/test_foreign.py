"""What the user's files hold under the names of results stays in the results, under another name."""

import anndata as ad
import numpy as np
import pandas as pd

from histoquilt.cli import run

SAID = "was not written by histoquilt"


def domains(*arguments):
    return run(["domains", *map(str, arguments), "-k", "3", "--denoise", "none"])


BARE = ["--levels", "none", "--stability", "none"]  # their columns are looked at in the first test


def labelled(path, key="domain"):
    """Write a pathologist's labels into a file, and return them."""
    adata = ad.read_h5ad(path)
    adata.obs[key] = pd.Categorical(np.where(np.arange(adata.n_obs) < 40, "tumour", "stroma"))
    adata.write_h5ad(path)
    return adata.obs[key].astype(str).tolist()


def test_a_pathologists_domains_are_kept_once(section_file, quick, tmp_path, capsys):
    labels = labelled(section_file)
    assert domains(section_file, "-o", tmp_path / "one", "--config", quick) == 0
    assert capsys.readouterr().err.count(SAID) == 1
    first = ad.read_h5ad(tmp_path / "one" / "toy.h5ad")
    assert first.obs["domain_before"].tolist() == labels
    assert first.obs["domain"].cat.categories.tolist() == ["1", "2", "3"]

    assert domains(tmp_path / "one" / "toy.h5ad", "-o", tmp_path / "two", "--config", quick) == 0
    assert SAID not in capsys.readouterr().err
    second = ad.read_h5ad(tmp_path / "two" / "toy.h5ad")
    assert set(second.obs) == set(first.obs)
    assert second.obs["domain_before"].tolist() == labels


def test_markers_and_embedding_are_kept(section_file, quick, tmp_path, capsys):
    adata = ad.read_h5ad(section_file)
    adata.uns["domain_markers"] = pd.DataFrame({"domain": ["tumour"], "gene": ["KRT5"]})
    adata.obsm["X_domains"] = np.ones((adata.n_obs, 2))
    adata.write_h5ad(section_file)
    assert domains(section_file, "-o", tmp_path / "one", "--config", quick) == 0
    assert capsys.readouterr().err.count(SAID) == 2
    found = ad.read_h5ad(tmp_path / "one" / "toy.h5ad")
    assert found.uns["domain_markers_before"]["gene"].tolist() == ["KRT5"]
    assert found.obsm["X_domains_before"].shape == (240, 2)


def test_a_study_keeps_them_in_every_section(three_files, quick, tmp_path, capsys):
    labels = [labelled(path) for path in three_files[:2]]  # the third has none
    assert domains(*three_files, "-o", tmp_path / "one", "--config", quick, *BARE) == 0
    assert capsys.readouterr().err.count(SAID) == 1
    for name, of_section in zip(("s1", "s2"), labels, strict=True):
        assert ad.read_h5ad(tmp_path / "one" / f"{name}.h5ad").obs["domain_before"].tolist() == of_section
    assert "domain_before" not in ad.read_h5ad(tmp_path / "one" / "s3.h5ad").obs

    again = [tmp_path / "one" / f"{name}.h5ad" for name in ("s1", "s2", "s3")]
    assert domains(*again, "-o", tmp_path / "two", "--config", quick, *BARE) == 0
    assert SAID not in capsys.readouterr().err


def test_a_column_of_the_samples_table(three_files, quick, samples, tmp_path, capsys):
    table = samples("section,counts,domain", "a,s1.h5ad,tumour", "b,s2.h5ad,stroma")
    for number, options in enumerate([["--separate"], []]):
        out = tmp_path / f"out{number}"
        assert domains(table, "-o", out, "--config", quick, *options, *BARE) == 0
        assert SAID in capsys.readouterr().err
        for name, label in (("a", "tumour"), ("b", "stroma")):
            found = ad.read_h5ad(out / f"{name}.h5ad").obs
            assert (found["domain_before"].astype(str) == label).all()
            assert set(found["domain"].cat.categories) == {"1", "2", "3"}


def test_a_table_that_replaces_labels_of_its_files_keeps_both(three_files, quick, samples, tmp_path, capsys):
    labels = labelled(three_files[0])
    table = samples("section,counts,domain", "a,s1.h5ad,whole", "b,s2.h5ad,whole")
    assert domains(table, "-o", tmp_path / "out", "--separate", "--config", quick, *BARE) == 0
    assert "is replaced by 'whole' from the table, and kept as obs['domain_before']" in capsys.readouterr().err
    found = ad.read_h5ad(tmp_path / "out" / "a.h5ad").obs
    assert found["domain_before"].tolist() == labels
    assert (found["domain_before_2"].astype(str) == "whole").all()
