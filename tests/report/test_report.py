"""What is in the page, without a browser."""

import base64
import json
import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histoquilt.pl import domain_palette
from histoquilt.report import write_report


def page_of(tmp_path, sections, **arguments) -> str:
    write_report(sections, tmp_path / "report.html", **arguments)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def data_of(page: str) -> list:
    return json.loads(re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.S)[1])


def unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def test_positions_domains_and_names_survive_the_way_into_the_page(written_section, tmp_path):
    adata = written_section()
    (group,) = data_of(page_of(tmp_path, adata))
    (drawn,) = group["maps"]
    x, y = unpack(drawn["x"], "<u2").astype(float), unpack(drawn["y"], "<u2").astype(float)
    unit = drawn["pitch"] / 50  # grid units per pixel; neighbours are 50 pixels apart
    np.testing.assert_allclose(x / unit + 200 - 75, adata.obsm["spatial"][:, 0], atol=0.1)  # the margin is 1.5 pitches
    np.testing.assert_allclose(y / unit + 100 - 75, adata.obsm["spatial"][:, 1], atol=0.1)
    codes = unpack(drawn["codes"], "<u2")
    assert codes[0] == 4  # no domain
    np.testing.assert_array_equal(codes[1:], adata.obs["domain"].cat.codes[1:])
    assert drawn["names"].split("\n") == list(adata.obs_names)
    np.testing.assert_allclose(unpack(drawn["confidence"], "u1") / 254, adata.obs["domain_confidence"], atol=0.002)
    assert [domain["color"] for domain in group["domains"]] == domain_palette(4)
    assert group["domains"][1]["top"] == ["SYM1", "SYM4"]
    assert drawn["um"] == pytest.approx(2 / unit)


def test_image_is_cut_to_the_tissue_and_lies_where_it_belongs(written_section, tmp_path):
    adata = written_section()
    pixels = np.full((80, 90, 3), 255, dtype=np.uint8)
    pixels[40:50, 20:30] = (200, 0, 0)  # coordinates x 200-300, y 400-500
    adata.uns["spatial"]["S1"]["images"]["lowres"] = pixels
    (group,) = data_of(page_of(tmp_path, adata))
    drawn = group["maps"][0]
    (tmp_path / "image.jpg").write_bytes(base64.b64decode(drawn["image"]["src"].split(",")[1]))
    seen = np.asarray(Image.open(tmp_path / "image.jpg")).astype(int)
    unit = drawn["pitch"] / 50
    left, top, width, height = np.array(drawn["image"]["box"]) / unit + [125, 25, 0, 0]
    assert (left, top) == pytest.approx((120, 20), abs=0.1)  # down to whole pixels of the image
    assert seen.shape[:2] == (round(height / 10), round(width / 10))
    rows, columns = np.nonzero(seen[:, :, 1] < 100)
    assert top + 10 * rows.min() == pytest.approx(400, abs=10)
    assert left + 10 * columns.max() == pytest.approx(290, abs=10)


@pytest.mark.parametrize("kind", ["float", "rgba", "grey", "uint16"])
def test_images_of_every_kind(written_section, tmp_path, kind):
    adata = written_section()
    rgb = np.zeros((80, 90, 3))
    images = {
        "float": rgb,
        "rgba": np.zeros((80, 90, 4), np.uint8),
        "grey": rgb[:, :, 0],
        "uint16": rgb.astype(np.uint16),
    }
    adata.uns["spatial"]["S1"]["images"]["lowres"] = images[kind]
    (group,) = data_of(page_of(tmp_path, adata))
    (tmp_path / "image.jpg").write_bytes(base64.b64decode(group["maps"][0]["image"]["src"].split(",")[1]))
    level = np.asarray(Image.open(tmp_path / "image.jpg")).mean()
    assert level == (255 if kind == "rgba" else 0)  # transparent is white


def test_table_of_domains_counts_every_spot(written_section, tmp_path):
    page = page_of(tmp_path, written_section())
    table = re.search(r'<table class="domains.*?</table>', page, re.S)[0]
    assert re.findall(r'class="number" data-value="(\d+)">', table) == ["35", "36", "36", "36"]
    assert "1 spot has no domain" in page


def test_markers_genes_and_training_are_there(written_section, tmp_path):
    page = page_of(tmp_path, written_section())
    assert page.count('<tr data-domain="') == 8
    assert "<b>SYM2</b> <small>ENSG00000000002</small>" in page
    (group,) = data_of(page)
    assert [gene["symbol"] for gene in group["genes"]] == ["SYM0", "SYM1", "SYM2", "SYM3"]
    assert page.count('<svg class="curve"') == 2
    assert "stopped by itself when the embedding no longer changed, after 10 epochs." in page
    assert "spamask.config.n_latent" in page


def test_measured_and_denoised_values(written_section, tmp_path):
    adata = written_section()
    (group,) = data_of(page_of(tmp_path, adata))
    counts = adata.X.toarray()
    logged = np.log1p(counts[:, 1] / counts.sum(axis=1) * 1e4)
    gene = group["genes"][1]
    top = gene["measured"]["top"]
    assert top == pytest.approx(np.percentile(logged, 99), abs=0.01)
    shown = unpack(gene["measured"]["values"], "u1") / 254 * top
    np.testing.assert_allclose(shown, np.minimum(logged, top), atol=0.04)


def test_run_facts(written_section, tmp_path):
    run = {
        "histoquilt": "9.8.7", "seed": 11, "n_domains": 4, "wall_s": 75.2, "peak_rss_mb": 2048.0,
        "inputs": [{"section": "S1", "path": "S1.h5ad", "sha256": "abc123"}], "warnings": ["3 spots are isolated."],
        "timings": {"read": 0.5}, "arguments": {"layer": "umi", "use_rep": None}, "device": "cpu",
    }  # fmt: skip
    page = page_of(tmp_path, written_section(), run=run)
    for words in ("9.8.7", ">11<", "1 min 15 s", "2.00 GiB", "abc123", "3 spots are isolated.", "0.50 s", "umi", "cpu"):
        assert words in page, words
    assert "use_rep" not in page


@pytest.mark.parametrize("inputs", [{"a.h5ad": "d1"}, ["a.h5ad"], "a.h5ad", [{"path": "a.h5ad", "digest": "d1"}]])
def test_inputs_in_every_shape(written_section, tmp_path, inputs):
    assert "<dt>a.h5ad</dt>" in page_of(tmp_path, written_section(), run={"inputs": inputs})


def test_without_run_the_facts_come_from_the_section(written_section, tmp_path):
    page = page_of(tmp_path, written_section())
    cards = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page.split("</header>")[0]))
    assert cards["Seed"] == "3"
    assert cards["Domains"] == "4"
    assert cards["Run time"] == "1.5 s"


def test_nothing_from_data_becomes_markup(written_section, tmp_path):
    evil = "</script><script>alert(1)</script>\"'&<!--\u2028"
    adata = written_section(image=False, name=evil)
    adata.obs_names = [evil + str(i) for i in range(adata.n_obs)]
    adata.obsm["denoised"].index = adata.obs_names
    adata.obs["domain"] = adata.obs["domain"].cat.rename_categories({"1": evil})
    adata.uns["domain_markers"] = adata.uns["domain_markers"].replace({"1": evil, "SYM0": evil})
    adata.uns["histoquilt"]["spamask"]["config"][evil] = evil
    page = page_of(
        tmp_path, {evil: adata, "b": adata}, title=evil, run={evil: evil, "warnings": [evil], "inputs": [evil]}
    )
    assert "<script>alert" not in page
    assert page.count("<script") == page.count("</script>") == 2
    assert "<!--" not in page
    assert data_of(page)[0]["domains"][0]["name"] == evil


def test_colours_that_only_matplotlib_knows_are_replaced(written_section, tmp_path):
    adata = written_section()
    adata.uns["domain_colors"] = ["#112233", "#445566", "#778899", "#aabbcc"]
    assert data_of(page_of(tmp_path, adata))[0]["domains"][0]["color"] == "#112233"
    adata.uns["domain_colors"] = ["tab:blue", "C1", "red;}", "k"]
    assert data_of(page_of(tmp_path, adata))[0]["domains"][0]["color"] == domain_palette(1)[0]


def test_bare_section_renders(written_section, tmp_path):
    adata = written_section(image=False)[:, :0].copy()
    for key in ("domain_markers", "histoquilt", "domain_colors"):
        adata.uns.pop(key, None)
    del adata.obsm["denoised"], adata.obs["domain_confidence"], adata.obs["section"]
    page = page_of(tmp_path, adata)
    assert "holds no expression (0 genes)" in page
    assert "Confidence" not in page
    (drawn,) = data_of(page)[0]["maps"]
    assert drawn["image"] is drawn["um"] is drawn["confidence"] is None


def test_measured_values_that_are_no_counts_are_left_out_with_the_reason(written_section, tmp_path):
    adata = written_section()
    adata.X = adata.X * 0.5
    del adata.uns["histoquilt"]["scale"]["X"]
    page = page_of(tmp_path, adata)
    assert "Measured values are not shown: X looks log-transformed" in page
    assert data_of(page)[0]["genes"][0]["measured"] is None


def test_several_sections(written_section, tmp_path):
    joint = written_section(image=False)
    joint.obs["section"] = ["left"] * 72 + ["right"] * 72
    groups = data_of(page_of(tmp_path, {"alone": written_section(), "joint": joint}))
    assert [[drawn["name"] for drawn in group["maps"]] for group in groups] == [["alone"], ["left", "right"]]
    assert [drawn["n_spots"] for drawn in groups[1]["maps"]] == [72, 72]
    assert len(unpack(groups[1]["genes"][0]["denoised"]["values"], "u1")) == 144


def test_large_sections_are_sampled_and_the_page_says_so(written_section, tmp_path, monkeypatch):
    monkeypatch.setattr("histoquilt.report._page.MAX_SPOTS", 100)
    page = page_of(tmp_path, written_section())
    (group,) = data_of(page)
    (drawn,) = group["maps"]
    assert len(unpack(drawn["x"], "<u2")) == len(unpack(group["genes"][0]["denoised"]["values"], "u1")) == 100
    assert "draws an even sample of 100 of 144 spots" in page
    assert re.findall(r'class="number" data-value="(\d+)">', page)[:2] == ["35", "36"]  # tables still count every spot
    assert page == page_of(tmp_path, written_section())


def test_sample_covers_the_tissue_evenly(written_section, tmp_path, monkeypatch):
    monkeypatch.setattr("histoquilt.report._page.MAX_SPOTS", 256)
    adata = written_section(n_side=32, image=False)  # 1,024 spots: one in four
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    (drawn,) = data_of(page_of(tmp_path, shuffled))[0]["maps"]
    x, y = (unpack(drawn[axis], "<u2") for axis in "xy")
    in_quarter = np.histogram2d(x, y, bins=4)[0]
    assert in_quarter.min() >= 12  # 16 on average
    assert in_quarter.max() <= 20


def test_large_sections_leave_room_for_small_ones(written_section, tmp_path, monkeypatch):
    monkeypatch.setattr("histoquilt.report._page.MAX_SPOTS", 200)
    sections = {"small": written_section(n_side=5), "large": written_section(n_side=20)}
    groups = data_of(page_of(tmp_path, sections))
    assert [group["maps"][0]["n_drawn"] for group in groups] == [25, 175]


def test_only_itself_is_loaded(written_section, tmp_path):
    page = page_of(tmp_path, written_section())
    page = page.replace('xmlns="http://www.w3.org/2000/svg"', "")  # the name of the format of a saved map
    assert not re.findall(r"https?://|@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")", page)


def test_missing_domains_and_no_sections(written_section, tmp_path):
    adata = written_section()
    with pytest.raises(KeyError, match=r"'leiden' is not in adata.obs .*domain_key="):
        write_report(adata, tmp_path / "r.html", domain_key="leiden")
    with pytest.raises(KeyError, match="spatial_key="):
        write_report(adata, tmp_path / "r.html", spatial_key="xy")
    with pytest.raises(TypeError, match="Expected an AnnData, got str"):
        write_report({"a": "section.h5ad"}, tmp_path / "r.html")
    with pytest.raises(ValueError, match="no section to report on"):
        write_report({}, tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_visium_sized_section_is_small_and_quick(written_section, tmp_path):
    adata = written_section(n_side=63)  # 3,969 spots
    start = time.perf_counter()
    write_report(adata, tmp_path / "r.html")
    assert time.perf_counter() - start < 1.5
    assert (tmp_path / "r.html").stat().st_size < 1_500_000


def test_no_plotting_library_scanpy_or_torch_is_needed():
    code = "import histoquilt.report, sys; print({'matplotlib', 'scanpy', 'torch'} & set(sys.modules) or 'none')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "none"


def test_section_read_back_from_h5ad_gives_the_same_page(written_section, tmp_path):
    import anndata

    adata = written_section()
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert page_of(tmp_path, anndata.read_h5ad(tmp_path / "a.h5ad")) == page_of(tmp_path, adata)


def test_markers_with_missing_numbers(written_section, tmp_path):
    adata = written_section()
    adata.uns["domain_markers"] = pd.DataFrame({"domain": ["1"], "gene": ["ENSG00000000000"], "score": [np.nan]})
    page = page_of(tmp_path, adata)
    assert re.search(r'<tr data-domain="1">.*–', page)
