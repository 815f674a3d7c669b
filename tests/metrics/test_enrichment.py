"""GMT files and the hypergeometric test on a panel."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from histoquilt import metrics

PANEL = [f"G{i}" for i in range(40)]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_agrees_with_fishers_exact_test():
    rng = np.random.default_rng(0)
    sets = {f"set{i}": list(rng.choice(PANEL, 8, replace=False)) for i in range(6)}
    hits = PANEL[:12]
    found = metrics.enrichment(sets, hits, PANEL)
    for row in found.itertuples():
        inside = len(set(sets[row.gene_set]) & set(hits))
        table = [[inside, 8 - inside], [12 - inside, 40 - 8 - 12 + inside]]
        assert row.n_hits == len(row.hits) == inside
        assert row.p_value == pytest.approx(fisher_exact(table, alternative="greater")[1])
        assert row.fold == pytest.approx(inside / (8 * 12 / 40))
    assert found["q_value"].to_numpy() == pytest.approx(false_discovery_control(found["p_value"]))
    assert found["p_value"].is_monotonic_increasing


def test_the_panel_is_the_background():
    """A set that the whole panel belongs to is not enriched, and genes outside the panel do not count."""
    found = metrics.enrichment({"all": PANEL, "half": [*PANEL[:20], "OTHER"]}, PANEL[:10], PANEL).set_index("gene_set")
    assert found.loc["all", "p_value"] == pytest.approx(1)
    assert found.loc["half", "n_genes"] == 20
    assert found.loc["half", "fold"] == pytest.approx(2)


def test_small_sets_are_left_out_and_counted():
    found = metrics.enrichment({"a": PANEL[:5], "b": PANEL[:2]}, PANEL[:5], PANEL)
    assert found["gene_set"].tolist() == ["a"]
    assert found.attrs["n_left_out"] == 1
    nothing = metrics.enrichment({"a": PANEL[:5]}, [], PANEL)
    assert nothing["p_value"].tolist() == [1.0]


def test_a_gmt_file(tmp_path):
    path = write(tmp_path / "sets.gmt", "first\thttp://x\tG0\tG1\tG2\tG1\t\n\nsecond\t\tG5\tG6\tG7\r\n")
    assert metrics.read_gmt(path) == {"first": ["G0", "G1", "G2"], "second": ["G5", "G6", "G7"]}
    assert metrics.enrichment(path, PANEL[:3], PANEL)["gene_set"][0] == "first"
    assert metrics.enrichment(str(path), PANEL[:3], PANEL)["gene_set"][0] == "first"


def test_what_is_no_gmt_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no GMT file"):
        metrics.read_gmt(tmp_path / "absent.gmt")
    with pytest.raises(ValueError, match=r"is not a GMT file: line 1 reads 'gene,set'.*separated by tabs"):
        metrics.read_gmt(write(tmp_path / "a.gmt", "gene,set\nG0,first\n"))
    with pytest.raises(ValueError, match="line 2 reads"):
        metrics.read_gmt(write(tmp_path / "b.gmt", "first\tx\tG0\nsecond\tx\n"))
    with pytest.raises(ValueError, match="is empty: it holds no gene set"):
        metrics.read_gmt(write(tmp_path / "c.gmt", "\n"))
    with pytest.raises(ValueError, match=r"duplicate gene set 'first' \(line 2\); names must be unique"):
        metrics.read_gmt(write(tmp_path / "d.gmt", "first\tx\tG0\nfirst\tx\tG1\n"))
    (tmp_path / "e.gmt").write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(ValueError, match="is not text"):
        metrics.read_gmt(tmp_path / "e.gmt")


def test_what_enrichment_refuses():
    with pytest.raises(ValueError, match=r"No gene set has 3 genes.*like 'ENSG1'.*the background like 'G0'"):
        metrics.enrichment({"a": ["ENSG1", "ENSG2", "ENSG3"]}, PANEL[:3], PANEL)
    with pytest.raises(ValueError, match="1 of 2 hits are not in the background: 'X'"):
        metrics.enrichment({"a": PANEL[:5]}, ["G0", "X"], PANEL)
    with pytest.raises(ValueError, match="background is empty"):
        metrics.enrichment({"a": PANEL[:5]}, [], [])
