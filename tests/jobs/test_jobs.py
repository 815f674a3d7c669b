"""Jobs called from Python: options, errors, logging, and the same results as the commands."""

import logging
import os
from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.cli import run
from histoquilt.jobs import DomainsConfig, Interrupted, JobError, find_domains, train_model
from histoquilt.jobs.expression import _train

QUICK = {"progress": False, "denoise": "none"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_domains": 1}, "n_domains= must be at least 2, got 1"),
        ({"n_domains": (5, 3)}, r"a range of n_domains= goes from 2 up"),
        ({"links": "stak"}, r"links= is auto, stack, .* or none, got 'stak'. Did you mean stack\?"),
        ({"method": "spamsk"}, "method: Unknown domain model 'spamsk'. Did you mean 'spamask'"),
        ({"device": "gpu"}, "unknown device= 'gpu'"),
        ({"spatial_columns": ("x",)}, "spatial_columns= is two columns of obs"),
        ({"separate": True, "links": "stack"}, "links='stack' joins sections, and separate=True keeps them apart"),
        ({"denoise": []}, "denoise= is all, markers, none"),
        ({"levels": "all"}, "levels= is coarse, fine or none, got 'all'"),
        ({"stability": "genes"}, "stability= is spots, counts or none, got 'genes'"),
        ({"clustering": "ward"}, "clustering= is mixture or merge, got 'ward'"),
    ],
)
def test_wrong_options_are_told_in_the_words_of_python(section_file, tmp_path, options, words):
    with pytest.raises(JobError, match=words):
        find_domains(section_file, tmp_path / "out", **options)
    assert issubclass(JobError, ValueError)


def test_an_option_that_does_not_exist_is_named_with_a_close_one(section_file, tmp_path):
    with pytest.raises(TypeError, match=r"n_domain= is not an option of this job\. Did you mean n_domains=\?"):
        find_domains(section_file, tmp_path / "out", n_domain=3)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(JobError, match=r"gone\.h5ad does not exist"):
        find_domains(tmp_path / "gone.h5ad", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_python_and_the_command_write_the_same(section_file, quick, tmp_path, same_results, capsys, caplog):
    command = ["domains", section_file, "-k", 3, "-o", tmp_path / "shell", "--config", quick, "-q"]
    assert run([str(part) for part in [*command, "--denoise", "none"]]) == 0
    capsys.readouterr()
    model_config = hq.models.SharedFactorsConfig.from_json(quick)
    checked = []
    settings = DomainsConfig(n_domains=3, config=model_config, **QUICK)
    with caplog.at_level(logging.INFO, "histoquilt"):
        done = find_domains(
            [str(section_file)], str(tmp_path / "python"), settings, on_checked=lambda: checked.append(True)
        )
    assert checked == [True]
    assert capsys.readouterr() == ("", "")
    same_results(tmp_path / "shell", tmp_path / "python")
    assert (done.n_found, done.already_done, done.out) == ({"toy": 3}, False, tmp_path / "python")
    assert done.facts["arguments"]["config"]["n_pcs"] == 20
    with pytest.raises(FileExistsError, match="already holds results"):
        find_domains(section_file, tmp_path / "python", settings)


def test_a_call_whose_results_are_complete_does_nothing(section_file, quick, tmp_path):
    options = {"n_domains": 3, "config": str(quick), "resume": True, **QUICK}
    first = find_domains(section_file, tmp_path / "out", **options)
    again = find_domains(section_file, tmp_path / "out", **options)
    assert not first.already_done
    assert again.already_done
    assert again.facts == first.facts


def test_an_interrupt_says_where_work_is_kept(study_folder, tmp_path, monkeypatch):
    def stop(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(_train, "_fit_and_save", stop)
    with pytest.raises(Interrupted, match=r"model\.partial\. The same command goes on"):
        train_model(study_folder / "samples.csv", tmp_path / "model", method="ridge", resume=True, progress=False)
    assert issubclass(Interrupted, KeyboardInterrupt)


def test_default_fields_and_embedding_are_those_of_the_command(study_folder, tmp_path):
    """One rule: ``im.embed_patches`` without ``field_um`` gives what ``histoquilt train`` trains on."""
    seen = {}
    fit = hq.models.MeanExpression.fit

    def watch(self, sections, **more):
        seen.update(sections)
        return fit(self, sections, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hq.models.MeanExpression, "fit", watch)
        arguments = ["train", study_folder / "samples.csv", "--method", "mean", "-q", "-o", tmp_path / "model"]
        assert run([os.fspath(part) for part in arguments]) == 0
    sections = hq.io.read_samples(study_folder / "samples.csv").sections
    for name, section in sections.items():
        with hq.io.open_image(section) as slide:
            hq.im.embed_patches(section, slide, mpp=2.0, progress=False)
        keys = [key for key in section.obsm if key.startswith("X_he_texture")]
        assert len(keys) == 4
        assert keys == [key for key in seen[name].obsm if key.startswith("X_he_texture")]
        for key in keys:
            np.testing.assert_array_equal(section.obsm[key], seen[name].obsm[key])
    assert isinstance(seen["s0"], ad.AnnData)


def test_levels_are_columns_of_the_table_and_of_every_section(section_file, quick, tmp_path):
    options = {**QUICK, "n_domains": 4, "config": quick, "stability": "none"}
    columns = {}
    for levels in ("none", "coarse", "fine"):
        done = find_domains(section_file, tmp_path / levels, levels=levels, **options)
        table = pd.read_csv(done.out / "domains.csv", dtype=str)
        columns[levels] = list(table)[3:]
        assert {"domain", *columns[levels]} <= set(ad.read_h5ad(done.out / "toy.h5ad").obs)
        for coarser, finer in pairwise([*columns[levels][:2], "domain", *columns[levels][2:]]):
            assert table.groupby(finer)[coarser].nunique().max() == 1
        assert ('class="level-slider"' in (done.out / "report.html").read_text(encoding="utf-8")) == (levels != "none")
    coarse = ["domain_coarse_2", "domain_coarse_3"]
    assert columns == {"none": [], "coarse": coarse, "fine": [*coarse, "domain_fine"]}


def test_stability_of_all_levels_is_in_the_table_the_sections_and_the_report(section_file, quick, tmp_path):
    options = {**QUICK, "n_domains": 3, "config": quick}
    sources, tables = {}, {}
    for stability in ("none", "spots", "counts"):
        done = find_domains(section_file, tmp_path / stability, stability=stability, **options)
        tables[stability] = pd.read_csv(done.out / "domains.csv", dtype={"domain": str, "domain_coarse_2": str})
        record = ad.read_h5ad(done.out / "toy.h5ad").uns["histoquilt"].get("domain_stability", {"sources": []})
        sources[stability] = list(record["sources"])
        page = (done.out / "report.html").read_text(encoding="utf-8")
        assert ('<option value="stability">' in page) == (stability != "none")
        assert ("random starts" in page, "halves of the counts" in page) == (stability != "none", stability == "counts")
    assert sources == {"none": [], "spots": ["spots", "seeds"], "counts": ["spots", "seeds", "counts"]}
    labels = ["section", "obs_name", "domain", "domain_coarse_2"]
    pd.testing.assert_frame_equal(tables["spots"][labels], tables["none"])
    more = tables["counts"].drop(columns=labels)
    assert list(more) == ["domain_coarse_2_stability", "domain_stability"]
    assert more.to_numpy().min() >= 0
    assert more.to_numpy().max() <= 1


def test_sections_too_small_to_resample_keep_their_domains(section_file, quick, tmp_path):
    small = ad.read_h5ad(section_file)[:20].copy()
    small.write_h5ad(tmp_path / "small.h5ad")
    done = find_domains(tmp_path / "small.h5ad", tmp_path / "out", n_domains=3, config=quick, **QUICK)
    assert any("stability of domains is left out" in text and "too few" in text for text in done.facts["warnings"])
    assert "domain_stability" not in pd.read_csv(done.out / "domains.csv")


def test_merging_is_an_option_of_the_command(section_file, quick, tmp_path):
    done = find_domains(section_file, tmp_path / "out", n_domains=3, config=quick, clustering="merge", **QUICK)
    written = ad.read_h5ad(done.out / "toy.h5ad")
    assert written.uns["histoquilt"]["domain"]["method"] == "merged mixtures EEE"
    assert "domain_mixture" in written.obs
