"""Genes by name, selections and files of a report: packed expression, and the page in headless Chromium."""

import base64
import gzip
import xml.etree.ElementTree as ET
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_matrix
from tests.report.browsing import (
    complaints,
    drag,
    painted,
    pixel,
    point_at,
    requested,
    saved,
    spot_place,
    tooltip,
    until,
)

from histoquilt.draw import color_ends, raw_expression, sparse_expression
from histoquilt.report import _genes
from histoquilt.report._genes import PackedGenes


def unpacked(packed: PackedGenes) -> np.ndarray:
    """Return the packed expression, ``(n_rows, n_genes)``, as the page reads it."""
    found = np.zeros((packed.n_rows, len(packed.names)))
    for number, text in enumerate(packed.chunks):
        raw = gzip.decompress(base64.b64decode(text))
        first = number * packed.per_chunk
        n = min(packed.per_chunk, len(packed.names) - first)
        sizes = np.frombuffer(raw, "<u4", n)
        rows = np.frombuffer(raw, "<u2", sizes.sum(), 4 * n)
        shades = np.frombuffer(raw, "u1", sizes.sum(), 4 * n + 2 * sizes.sum())
        found[rows, first + np.repeat(np.arange(n), sizes)] = shades / 254
    return found * packed.tops


def pack(adata, rows=None, first=(), n_bytes=10**6):
    rows = np.arange(adata.n_obs) if rows is None else rows
    return PackedGenes.of(adata, rows, first, layer=None, n_bytes=n_bytes)


def test_sparse_expression_is_that_of_the_dense_one(written_section, tmp_path):
    adata, rows = written_section(), np.array([7, 3, 100, 41])
    expected = raw_expression(adata, range(adata.n_vars))[rows]
    np.testing.assert_allclose(sparse_expression(adata, rows).toarray(), expected, rtol=1e-6)
    adata.write_h5ad(tmp_path / "section.h5ad")
    import anndata as ad

    backed = ad.read_h5ad(tmp_path / "section.h5ad", backed="r")
    np.testing.assert_allclose(sparse_expression(backed, rows).toarray(), expected, rtol=1e-6)


def test_packed_genes_are_expression_up_to_a_shade(written_section):
    adata, rows = written_section(), np.array([5, 90, 17, 143, 60])
    packed = pack(adata, rows)
    columns = [list(adata.var["gene_symbol"]).index(name) for name in packed.names]
    expected = np.minimum(raw_expression(adata, columns)[rows], packed.tops)
    np.testing.assert_allclose(unpacked(packed), expected, atol=0.5 / 254 * max(packed.tops) + 1e-3)
    assert packed.n_left_out == 0


def test_a_layer_is_packed_with_both_ends_of_its_colour_scales(predicted_section, monkeypatch):
    adata, rows, genes = predicted_section(), np.array([5, 90, 17, 143, 60]), np.array([3, 0, 5])
    monkeypatch.setattr(_genes, "_PER_CHUNK", 2)
    packed = PackedGenes.of_layer(adata, "predicted_ridge", rows, genes, n_bytes=10**6)
    assert packed.names == [f"SYM{gene}" for gene in genes]
    raw = b"".join(gzip.decompress(base64.b64decode(text)) for text in packed.chunks)
    found = np.frombuffer(raw, "u1").reshape(len(genes), len(rows)) / 254
    lows, tops = np.array(packed.lows)[:, None], np.array(packed.tops)[:, None]
    values = adata.layers["predicted_ridge"][:, genes].T
    expected = np.clip(values[:, rows], lows, tops)
    np.testing.assert_allclose(lows + found * (tops - lows), expected, atol=0.02)
    np.testing.assert_allclose(lows[:, 0], [color_ends(of_gene)[0] for of_gene in values], rtol=0.01)
    assert (len(packed.chunks), packed.n_left_out) == (2, 0)
    fewer = PackedGenes.of_layer(adata, "predicted_ridge", rows, genes, n_bytes=len(packed.chunks[0]))
    assert (fewer.names, fewer.n_left_out) == (packed.names[:2], 1)
    adata.layers["predicted_ridge"] = csr_matrix(adata.layers["predicted_ridge"])
    assert PackedGenes.of_layer(adata, "predicted_ridge", rows, genes, n_bytes=10**6) == packed


def test_markers_come_first_and_what_has_no_room_is_counted(written_section, monkeypatch):
    adata = written_section()
    assert pack(adata, first=[adata.var_names[4], adata.var_names[2]]).names[:2] == ["SYM4", "SYM2"]
    variance = raw_expression(adata, range(adata.n_vars)).var(axis=0)
    assert pack(adata).names == [f"SYM{gene}" for gene in np.argsort(-variance)]
    monkeypatch.setattr(_genes, "_PER_CHUNK", 2)
    every = pack(adata)
    assert len(every.chunks) == 3
    fewer = pack(adata, n_bytes=sum(map(len, every.chunks[:2])))
    assert (fewer.names, fewer.n_left_out) == (every.names[:4], 2)
    known, beside = every.payload(len(every.chunks[0]))
    assert (known["chunks"], beside) == (every.chunks[:1], every.chunks[1:])


def test_genes_of_the_same_symbol_have_both_names(written_section):
    adata = written_section()
    adata.var["gene_symbol"] = ["A", "A", *adata.var["gene_symbol"][2:]]
    assert {f"A ({name})" for name in adata.var_names[:2]} <= set(pack(adata).names)


def choose_gene(browser, name: str, number: int = 0) -> None:
    figure = browser.find_elements("css selector", ".map")[number]
    figure.find_element("css selector", ".color-by option[value=gene]").click()
    field = figure.find_element("css selector", ".gene-name")
    field.clear()
    field.send_keys(name + "\n")


def note(browser) -> str:
    return browser.find_element("css selector", ".gene-note").text


def test_a_typed_gene_colours_the_map_and_is_told_in_the_tooltip(opened, written_section):
    adata = written_section(image=False)
    browser = opened(adata)
    choose_gene(browser, "sym3")
    values = raw_expression(adata, [3])[:, 0]
    ramp = browser.find_element("css selector", ".ramp")
    until(lambda: "SYM3" in ramp.text)
    zero, high = int(np.flatnonzero(values == 0)[0]), int(values.argmax())
    until(lambda: pixel(browser, *spot_place(browser, adata, zero))[:3] == [68, 1, 84])
    assert pixel(browser, *spot_place(browser, adata, high))[:3] == [253, 231, 37]
    spot = int(np.flatnonzero((values > 0) & (values < np.percentile(values, 90)))[0])
    point_at(browser, spot_place(browser, adata, spot))
    until(lambda: "SYM3" in tooltip(browser))
    told = next(line for line in tooltip(browser).split("\n") if line.startswith("SYM3"))
    assert float(told.split()[-1]) == pytest.approx(values[spot], abs=0.03)
    choose_gene(browser, "ELSEWHERE")
    until(lambda: "No gene ELSEWHERE here" in note(browser))
    assert complaints(browser) == []


def test_more_genes_are_loaded_from_the_file_beside_the_page(opened, written_section, monkeypatch, tmp_path):
    monkeypatch.setattr(_genes, "EMBEDDED_BYTES", 0)
    adata = written_section(image=False)
    browser = opened(adata)
    assert (tmp_path / "report.genes.js").exists()
    assert sum(url.startswith("file:") for url in requested(browser)) == 1  # not before a gene is asked for
    choose_gene(browser, "SYM2")
    spot = int(raw_expression(adata, [2])[:, 0].argmax())
    until(lambda: pixel(browser, *spot_place(browser, adata, spot))[:3] == [253, 231, 37])
    assert complaints(browser) == []


@pytest.mark.parametrize("other", [None, 'histoquiltGenes("0123456789abcdef",[["eJw="]]);'])
def test_a_missing_or_foreign_file_is_told(opened, written_section, monkeypatch, tmp_path, other):
    monkeypatch.setattr(_genes, "EMBEDDED_BYTES", 0)
    browser = opened(written_section(image=False))
    (tmp_path / "report.genes.js").unlink()
    if other:
        (tmp_path / "report.genes.js").write_text(other)
    choose_gene(browser, "SYM2")
    until(lambda: "report.genes.js, which must lie beside this page and be of the same run" in note(browser))


@pytest.mark.parametrize("tool", ["box", "lasso"])
def test_selected_spots_are_counted_compared_and_saved(opened, written_section, tool):
    adata = written_section(image=False)
    browser = opened(adata)
    browser.find_element("css selector", f"[data-tool={tool}]").click()
    width = spot_place(browser, adata, 1)[0] - spot_place(browser, adata, 0)[0]
    left, top = np.array(spot_place(browser, adata, 13)) - width / 2  # rows 1 to 3, columns 1 to 4
    right, bottom = np.array(spot_place(browser, adata, 3 * 12 + 4)) + width / 2
    corners = (
        [(left, top), (right, bottom)]
        if tool == "box"
        else [(left, top), (right, top), (right, bottom), (left, bottom)]
    )
    drag(browser, corners)
    inside = np.flatnonzero([1 <= i // 12 <= 3 and 1 <= i % 12 <= 4 for i in range(adata.n_obs)])
    panel = browser.find_element("css selector", ".selection")
    until(lambda: "12 of 144 spots selected" in panel.text and "Higher here" in panel.text)
    counts = adata.obs["domain"].iloc[inside].value_counts()
    rows = [row.text.split() for row in panel.find_elements("css selector", "table:first-child tbody tr")]
    assert {row[0]: int(row[1]) for row in rows} == counts[counts > 0].to_dict()
    values = np.minimum(raw_expression(adata, range(6)), np.percentile(raw_expression(adata, range(6)), 99, axis=0))
    mean_in, mean_out = values[inside].mean(axis=0), np.delete(values, inside, axis=0).mean(axis=0)
    best = int((mean_in - mean_out).argmax())
    told = panel.find_elements("css selector", "table:last-child tbody tr")[0].text.split()
    assert told[0] == f"SYM{best}"
    np.testing.assert_allclose([float(told[1]), float(told[2])], [mean_in[best], mean_out[best]], atol=0.02)
    text = base64.b64decode(saved(browser, ".save-spots")).decode()
    head, *lines = text.strip().split("\n")
    assert head == "section,obs_name,domain"
    assert [line.split(",") for line in lines] == [
        ["S1", adata.obs_names[i], adata.obs["domain"].iloc[i]] for i in inside
    ]
    browser.find_element("css selector", ".clear").click()
    assert not panel.is_displayed()
    assert complaints(browser) == []


def test_a_box_by_keys(opened, written_section):
    browser = opened(written_section(image=False))
    over, panel = (browser.find_element("css selector", part) for part in (".over", ".selection"))
    over.send_keys("\ue014b\ue014\ue014\ue015b")  # from the middle, two right, one down
    until(lambda: "6 of 144 spots selected" in panel.text)
    over.send_keys("\ue00c")  # Escape
    until(lambda: not panel.is_displayed())


def test_two_maps_move_together_and_have_colours_of_their_own(opened, written_section):
    adata = written_section(image=False)
    browser = opened(adata)
    assert len(browser.find_elements("css selector", ".map")) == 1
    browser.find_element("css selector", ".two-maps").click()
    until(lambda: painted(browser, ".map:nth-of-type(2) .base") > 100)
    choose_gene(browser, "SYM1", number=1)
    second = ".map:nth-of-type(2) .base"
    picture = "return document.querySelector(arguments[0]).toDataURL()"
    until(lambda: browser.execute_script(picture, ".base") != browser.execute_script(picture, second))
    before = [browser.execute_script(picture, canvas) for canvas in (".base", second)]
    browser.find_element("css selector", "[data-zoom=in]").click()
    until(
        lambda: all(browser.execute_script(picture, c) != old for c, old in zip((".base", second), before, strict=True))
    )
    browser.find_element("css selector", ".two-maps").click()
    assert not browser.find_elements("css selector", ".map")[1].is_displayed()
    assert complaints(browser) == []


def test_a_map_is_saved_as_svg_and_png(opened, written_section):
    adata = written_section()
    browser = opened(adata)
    drawn = ET.fromstring(base64.b64decode(saved(browser, "[data-format=svg]")))
    space = "{http://www.w3.org/2000/svg}"
    circles = {group.get("fill"): len(group) for group in drawn.iter(f"{space}g")}
    counts = adata.obs["domain"].value_counts(sort=False)
    assert [circles[adata_color] for adata_color in browser_colors(browser)] == counts.tolist()
    assert len(list(drawn.iter(f"{space}image"))) == 1
    words = [text.text for text in drawn.iter(f"{space}text")]
    assert words[:5] == ["domain", *counts.index]
    assert words[-1].endswith("µm")
    with Image.open(BytesIO(base64.b64decode(saved(browser, "[data-format=png]")))) as picture:
        assert picture.width > picture.height * 0.8
        colors = {color for _, color in picture.convert("RGB").getcolors(10**6)}
    assert len(colors) > 4
    assert complaints(browser) == []


def browser_colors(browser) -> list[str]:
    return browser.execute_script(
        "return JSON.parse(document.getElementById('report-data').textContent)[0].domains.map((d) => d.color)"
    )
