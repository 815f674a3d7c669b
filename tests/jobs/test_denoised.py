"""``--denoise``: which denoised expression is written."""

import anndata as ad
import pandas as pd
import pytest

from histoquilt.cli import run
from histoquilt.jobs import _segment_one


@pytest.fixture
def denoised(section_file, quick, tmp_path):
    """Run with ``--denoise`` and return what was written."""

    def of(what: str) -> ad.AnnData:
        out = tmp_path / f"out_{what[:7]}"
        command = ["domains", section_file, "-k", 3, "-o", out, "--config", quick, "--quiet", "--denoise", what]
        command += ["--levels", "none", "--stability", "none"]
        assert run(list(map(str, command))) == 0
        return ad.read_h5ad(out / "toy.h5ad")

    return of


def test_of_a_large_section_the_best_markers_are_written(denoised, monkeypatch):
    monkeypatch.setattr(_segment_one, "_ALL_GENES", 100)
    everything, by_itself = denoised("all"), denoised("auto")
    markers = by_itself.uns["domain_markers"]
    markers = markers[markers["gene"].isin(everything.obsm["denoised"].columns)]  # modelled
    best = list(dict.fromkeys(markers.groupby("domain", sort=False).head(5)["gene"]))
    assert 5 <= len(best) <= 15
    assert list(by_itself.obsm["denoised"].columns) == best
    assert by_itself.uns["histoquilt"]["scale"]["denoised"] == "log1p_cp10k"
    pd.testing.assert_frame_equal(by_itself.obsm["denoised"], everything.obsm["denoised"][best], rtol=1e-5)
    assert (by_itself.obs["domain"] == everything.obs["domain"]).all()


def test_all_of_a_small_one_none_and_by_name(denoised):
    genes = list(denoised("auto").obsm["denoised"].columns)
    assert len(genes) > 50
    assert "denoised" not in denoised("none").obsm
    assert list(denoised(f"{genes[3]}, {genes[1]}").obsm["denoised"].columns) == [genes[3], genes[1]]


def test_what_cannot_be_denoised_is_refused(section_file, tmp_path, refused):
    command = ["domains", section_file, "-k", 3, "-o", tmp_path / "out", "--quiet", "--denoise"]
    assert "--denoise is all, markers, none, auto or genes by name" in refused(*command, ",")
    assert "'ABSENT' of --denoise is not in adata.var_names" in refused(*command, "ABSENT")
    assert "--use-rep replaces the genes, so nothing can be denoised" in refused(*command, "all", "--use-rep", "X")
    several = [*command[:2], section_file.parent / "copy" / "b.h5ad", *command[2:]]
    several[2].parent.mkdir()
    several[2].write_bytes(section_file.read_bytes())
    assert "--denoise markers is for sections on their own" in refused(*several, "markers")
