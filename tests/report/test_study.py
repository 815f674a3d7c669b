"""What the page of a study says, without a browser."""

import json
import re

import numpy as np
import pytest

from histoquilt.io import split_sections
from histoquilt.pl import domain_palette
from histoquilt.report import write_report

from .test_report import data_of, page_of, unpack


def study_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="study-data">(.*?)</script>', page, re.S)[1])


def card_of(page: str, title: str) -> str:
    return page.split(f"<h3>{title}")[1].split("</section>")[0]


def test_a_page_without_study_has_none_of_it(written_section, tmp_path):
    page = page_of(tmp_path, written_section())
    assert 'id="study' not in page
    assert "How many domains?" not in page


@pytest.mark.parametrize("form", ["the study itself", "its sections"])
def test_overview_and_sections_share_names_colours_and_codes(toy_study, tmp_path, form):
    joint = toy_study()
    page = page_of(tmp_path, joint if form == "the study itself" else split_sections(joint), study=joint)
    study, groups = study_of(page), data_of(page)
    assert [domain["color"] for domain in study["domains"]] == domain_palette(5)
    assert [group["domains"] for group in groups] == [study["domains"]] * 3  # names, colours and best markers
    for name, thumb, group in zip(["s1", "s2", "s3"], study["overview"], groups, strict=True):
        codes = joint.obs["domain"].cat.codes[joint.obs["section"] == name]
        np.testing.assert_array_equal(unpack(thumb["codes"], "<u2"), codes)
        np.testing.assert_array_equal(unpack(group["maps"][0]["codes"], "<u2"), codes)
    assert re.findall(r'<a href="#group-(\d)">(s\d)</a> <small>400 spots', page) == [
        ("0", "s1"),
        ("1", "s2"),
        ("2", "s3"),
    ]


def test_a_section_without_one_of_the_domains_keeps_the_colours(toy_study, tmp_path):
    joint = toy_study()
    sections = split_sections(joint)
    sections["s1"] = sections["s1"][(sections["s1"].obs["domain"] != "2").to_numpy()].copy()
    sections["s1"].obs["domain"] = sections["s1"].obs["domain"].cat.remove_unused_categories()
    first = data_of(page_of(tmp_path, sections, study=joint))[0]["domains"]
    colors = domain_palette(5)
    assert [(domain["name"], domain["color"]) for domain in first] == [(n, colors[int(n) - 1]) for n in "1345"]


def test_aligned_stack_has_one_frame_for_all_and_is_ordered_by_z(toy_study, tmp_path):
    joint = toy_study()
    joint.obs["z_um"] = 300 - joint.obs["z_um"]  # s3 is the lowest
    joint.obsm["spatial_aligned"][(joint.obs["section"] == "s2").to_numpy()] += [500, 0]
    page = page_of(tmp_path, joint, study=joint)
    aligned = study_of(page)["aligned"]
    assert len({tuple(one["size"]) for one in aligned}) == 1
    x = [unpack(one["x"], "<u2").astype(float) for one in aligned]
    points = joint.obsm["spatial_aligned"][:, 0]
    of = [points[(joint.obs["section"] == name).to_numpy()] for name in ("s3", "s2", "s1")]
    unit = np.ptp(np.concatenate(x)) / np.ptp(np.concatenate(of))
    for drawn, true in zip(x, of, strict=True):
        np.testing.assert_allclose((drawn - drawn[0]) / unit, true - true[0], atol=0.2)
    assert (x[1].mean() - x[0].mean()) / unit == pytest.approx(of[1].mean() - of[0].mean(), abs=0.2)
    assert re.findall(r"<b>(s\d)</b> <small>z ([\d,]+) µm", page) == [("s3", "100"), ("s2", "200"), ("s1", "300")]
    assert "borders 12 µm apart, expression agrees by 0.60" in page
    assert "borders 0 µm apart" not in page  # of the section that was not moved
    del joint.obsm["spatial_aligned"]
    page = page_of(tmp_path, joint, study=joint)
    assert study_of(page)["aligned"] == []
    assert "Aligned stack" not in page


def test_mixing_before_and_after_is_a_table_read_beside_clisi(toy_study, tmp_path):
    joint = toy_study()
    page = page_of(tmp_path, joint, study=joint)
    card = card_of(page, "Integration")
    table = joint.uns["histoquilt"]["mixing"]
    value = table[table["sections"] == "all"].set_index(["embedding", "metric"])["value"]
    row = dict(re.findall(r'<th scope="row">(\w+)</th>(.*?)</tr>', card))
    for name in ("before", "histoquilt"):
        shown = [float(number) for number in re.findall(r"</span> (-?[\d.]+)</td>", row[name])]
        assert shown[:2] == [round(value[name, metric], 2) for metric in ("ilisi_scaled", "clisi_scaled")]
    assert "Compare mixing with cLISI" in card
    assert "not meaningful" not in card
    assert len(re.findall(r"<td>s\d vs s\d</td>", card)) == 6  # three pairs, two measures
    assert dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", card)) == {
        "links": "stack", "n links": "3", "n shared genes": "120", "sections": "s1, s2, s3",
    }  # fmt: skip


def test_mixing_without_domains_says_that_it_proves_nothing(toy_study, tmp_path):
    joint = toy_study()
    table = joint.uns["histoquilt"]["mixing"]
    joint.uns["histoquilt"]["mixing"] = table[~table["metric"].str.contains("clisi")]
    assert "not meaningful by themselves" in page_of(tmp_path, joint, study=joint)


def test_markers_and_parameters_are_told_once(toy_study, tmp_path):
    joint = toy_study()
    page = page_of(tmp_path, joint, study=joint)
    assert page.count('<table class="markers') == 1
    assert page.count('<tr data-domain="') == len(joint.uns["domain_markers"])
    assert page.count("How many domains?") == 1
    assert "No markers were computed" not in page
    cards = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page.split("</header>")[0]))
    assert (cards["Sections"], cards["Spots"], cards["Genes"], cards["Seed"]) == ("3", "1,200", "120", "0")
    wall_s = joint.uns["histoquilt"]["shared_factors"]["wall_s"]
    assert cards["Run time"] == f"{wall_s:.1f} s"  # not once for each section


def test_shares_of_domains_in_sections(toy_study, tmp_path):
    joint = toy_study()
    card = card_of(page_of(tmp_path, joint, study=joint), "Share of each domain in each section")
    share = (joint.obs["domain"][joint.obs["section"] == "s2"] == "1").mean()
    first = re.search(r"</i>1</th>(.*?)</tr>", card)[1]
    assert re.findall(r">([\d.]+%|–)<", first)[1] == f"{share:.0%}"


@pytest.mark.parametrize(("chosen", "words"), [(True, "5 domains were chosen"), (False, "5 domains (given)")])
def test_curve_of_a_study_and_of_a_single_section(toy_study, tmp_path, chosen, words):
    joint = toy_study()
    joint.uns["histoquilt"]["domain"]["chosen"] = chosen
    alone = split_sections(joint)["s1"]
    for page in (page_of(tmp_path, joint, study=joint), page_of(tmp_path, alone)):
        assert words in page
        svg = card_of(page, "How many domains?")
        dots = [float(x) for x in re.findall(r'<use [^>]*x="([\d.]+)"[^>]*fill: var\(--accent\)', svg)]
        (mark,) = re.findall(r'd="M ([\d.]+) [\d.]+ \nL [\d.]+ [\d.]+ \n"[^>]*stroke: var\(--ink\)', svg)
        assert len(dots) == 5
        assert float(mark) == pytest.approx(dots[3], abs=0.01)  # of 2 to 6
        assert ("was given, not chosen from the data" in page) is not chosen
    del alone.uns["histoquilt"]["n_domains_curve"]
    assert "How many domains?" not in page_of(tmp_path, alone)


def test_symbols_stand_for_identifiers(toy_study, tmp_path):
    joint = toy_study()
    joint.uns["domain_markers"] = joint.uns["domain_markers"].drop(columns="symbol")
    symbol = dict(zip(joint.var_names, [f"SYM{i}" for i in range(joint.n_vars)], strict=True))
    joint.var["gene_symbol"] = list(symbol.values())
    page = page_of(tmp_path, joint, study=joint)
    gene = joint.uns["domain_markers"]["gene"].iloc[0]
    assert f"<b>{symbol[gene]}</b> <small>{gene}</small>" in page
    assert study_of(page)["domains"][0]["top"][0].startswith("SYM")


def test_bare_study_renders(toy_study, tmp_path):
    joint = toy_study()
    for key in ("histoquilt", "domain_markers"):
        del joint.uns[key]
    del joint.obs["domain_confidence"], joint.obs["z_um"], joint.obsm["spatial_aligned"]
    page = page_of(tmp_path, joint, study=joint)
    assert study_of(page)["overview"][0]["confidence"] is None
    for words in ("Integration", "How many domains?", "Marker genes of the joint", "Aligned stack", ">confidence<"):
        assert words not in page.split("<h2>How to read this")[0].split("<article", 1)[1], words


def test_nothing_from_a_study_becomes_markup(toy_study, tmp_path):
    evil = "</script><script>alert(1)</script>\"'&<!--"
    joint = toy_study()
    joint.obs["section"] = joint.obs["section"].cat.rename_categories({"s1": evil})
    joint.obs["domain"] = joint.obs["domain"].cat.rename_categories({"1": evil})
    joint.uns["histoquilt"]["integration"] = {evil: evil}
    joint.uns["histoquilt"]["mixing"] = joint.uns["histoquilt"]["mixing"].replace({"before": evil, "s1 vs s2": evil})
    page = page_of(tmp_path, joint, study=joint)
    assert "<script>alert" not in page
    assert page.count("<script") == page.count("</script>") == 3
    assert "<!--" not in page
    assert study_of(page)["domains"][0]["name"] == evil


def test_large_studies_are_sampled(toy_study, tmp_path, monkeypatch):
    monkeypatch.setattr("histoquilt.report.domains._study.MAX_SPOTS", 300)
    joint = toy_study()
    page = page_of(tmp_path, joint, study=joint)
    study = study_of(page)
    assert [len(unpack(one["x"], "<u2")) for one in (*study["overview"], *study["aligned"])] == [100] * 6
    assert "The overview draws an even sample" in page


def test_sections_of_another_run_and_unnamed_sections(toy_study, written_section, tmp_path):
    joint = toy_study()
    other = written_section(n_domains=6)
    with pytest.raises(ValueError, match=r"domains that study= does not have: '6' .*split_sections\(study\)"):
        write_report({"other": other}, tmp_path / "r.html", study=joint)
    with pytest.raises(TypeError, match="Expected an AnnData, got str"):
        write_report({"other": other}, tmp_path / "r.html", study="joint.h5ad")
    del joint.obs["section"]
    with pytest.raises(KeyError, match=r"sections cannot be distinguished.*section_key="):
        write_report({"other": other}, tmp_path / "r.html", study=joint)
    assert not list(tmp_path.iterdir())


def test_ten_visium_sections_make_a_page_of_a_few_megabytes(written_section, tmp_path):
    from histoquilt.io import concat_sections

    joint = concat_sections({f"s{i}": written_section(n_side=63, image=False) for i in range(10)})
    joint.obsm["spatial_aligned"] = 2 * joint.obsm["spatial"]
    write_report(joint, tmp_path / "r.html", study=joint)
    assert (tmp_path / "r.html").stat().st_size < 6_000_000
