"""The documentation promises nothing that does not run.

Pages that start with ``file_format: mystnb`` run when the documentation is built, which checks what their text claims.
"""

import re
from pathlib import Path

import matplotlib as mpl
import pytest

from histoquilt._base import EXPORTERS

DOCS = Path(__file__).parents[1] / "docs"
README = DOCS.parent / "README.md"


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page that are in one language; ``""`` is the shell."""
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [text for found, text in fenced if found == language]


@pytest.mark.slow
def test_the_readme_runs(tmp_path, monkeypatch):
    """With fewer spots, and fewer genes on the first slide."""
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    first, second = blocks(README, "python")
    assert "toy_slide(n_spots=1500, n_genes=500," in first
    assert "toy_slides(3, n_spots=400," in second
    exec(first.replace("n_spots=1500, n_genes=500", "n_spots=600, n_genes=250"), names)
    exec(second.replace("n_spots=400", "n_spots=150"), names)
    hq, adata, predicted = (names[name] for name in ("hq", "adata", "predicted"))
    assert hq.metrics.ari(adata.obs["domain_true"], adata.obs["domain"]) > 0.5
    assert predicted.obs["domain"].nunique() == 4
    assert (tmp_path / "section.h5ad").exists()


@pytest.mark.slow
def test_the_page_on_annotations_runs(tmp_path, monkeypatch):
    pytest.importorskip("shapely")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    [block] = blocks(DOCS / "annotations.md", "python")
    exec(block, names)
    adata, score = names["adata"], names["score"]
    assert (adata.obs["annotation"] == adata.obs["domain_true"].astype(str)).all()
    assert score.ari > 0.5


@pytest.mark.slow
def test_the_page_on_conditions_runs(tmp_path, monkeypatch):
    pytest.importorskip("shapely")
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    [block] = blocks(DOCS / "conditions.md", "python")
    assert "toy_conditions(n_patients=4, seed=1)" in block
    exec(block.replace("n_patients=4", "n_patients=4, n_spots=300"), names)  # half of the spots
    compared, joint = names["compared"], names["joint"]
    assert compared.proportions["p_adjusted"].min() < 0.05
    assert (compared.markers["p_specific_adjusted"] < 0.05).any()
    assert set(joint.uns["conditions"]) == set(vars(compared))
    assert (tmp_path / "compared.html").stat().st_size > 10_000


def test_the_gallery_shows_every_plot():
    import histoquilt as hq

    cells = "".join(blocks(DOCS / "gallery.md", "{code-cell} python"))
    plots = [name for name in hq.pl.__all__ if name.islower()]
    assert [name for name in plots if f"hq.pl.{name}(" not in cells] == []


def test_every_page_is_in_a_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {line for table in re.findall(r"```{toctree}(.*?)```", index, flags=re.DOTALL) for line in table.split()}
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    pages = {page for page in pages if not page.startswith(("_build", "generated")) and page != "index"}
    assert pages - listed == set()


def test_the_alignment_page_runs():
    names: dict[str, object] = {}
    for block in blocks(DOCS / "alignment.md", "python"):
        exec(block, names)
    assert names["adata"].uns["histoquilt"]["alignment"]["s2"]["mirrored"]
    assert names["right"].uns["histoquilt"]["alignment"]["right"]["scale"] == pytest.approx(1 / 1.5, rel=0.03)


@pytest.mark.parametrize(
    "name",
    ["../README", "cli", "tutorial", "sections", "expression", "install", "scale", "viewers",
     *(f"howto/{path.stem}" for path in sorted((DOCS / "howto").glob("*.md")))],
)  # fmt: skip
def test_every_command_and_option_in_the_text_exists(name, capsys):
    from histoquilt.cli import run

    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    shell = "".join(blocks(DOCS / f"{name}.md", ""))
    commands = set(re.findall(r"^histoquilt ([a-z]+)\b", shell, flags=re.MULTILINE))
    commands |= set(re.findall(r"`histoquilt ([a-z]+)\b", text))
    assert commands
    known = ""
    for command in commands:
        assert run([command, "--help"]) == 0, command
        known += capsys.readouterr().out
    used = {option for line in re.findall(r"^histoquilt .*|`-[^`]*`", text, flags=re.MULTILINE)
            for option in re.findall(r"--[a-z-]+", line)}  # fmt: skip
    known += "--debug --version"
    assert [option for option in sorted(used) if option not in known] == []


@pytest.mark.parametrize("page", [README, *sorted(DOCS.rglob("*.md"))], ids=lambda p: p.stem)
def test_every_public_name_in_the_text_exists(page):
    import histoquilt

    text = page.read_text(encoding="utf-8")
    if "_build" in page.parts or "generated" in page.parts:
        pytest.skip("made by sphinx")
    for name in re.findall(r"\{(?:func|class)\}`histoquilt\.([\w.]+)`", text) + re.findall(r"\bhq\.([\w.]+)\(", text):
        found = histoquilt
        for part in name.split("."):
            assert hasattr(found, part), name
            found = getattr(found, part)


def test_the_api_pages_list_every_public_name():
    """Every room is on the API page, and what a room lists is documented and is not left to a guess."""
    import importlib
    import inspect
    import pkgutil

    import histoquilt

    rooms = [name for _, name, package in pkgutil.iter_modules(histoquilt.__path__) if package]
    listed = re.findall(r"^   histoquilt\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(rooms)
    for room in rooms:
        module = importlib.import_module(f"histoquilt.{room}")
        assert module.__doc__, room
        public = {name for name in vars(module) if not name.startswith("_") and name != "annotations"}
        shown = {
            name
            for name in public
            if inspect.isroutine(getattr(module, name)) or inspect.isclass(getattr(module, name))
        }
        assert shown <= set(module.__all__), room  # autosummary shows these, and nothing that is not in __all__
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isroutine(found) or inspect.isclass(found):
                assert (found.__doc__ or "").strip(), f"{room}.{name}"


def test_the_page_on_jobs_runs(tmp_path, monkeypatch):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(DOCS / "jobs.md", "python"):
        exec(block, names)
    assert names["done"].facts["n_spots"] == {"tissue": 300}
    assert names["again"].facts["seed"] == 1
    files = ["loupe/tissue.csv", "seurat/tissue/domains.csv", "seurat/tissue/clusters.csv"]
    assert names["viewers"].facts["files"] == files
    assert names["predicted"].facts["n_spots"] == {"s4": 60}
    assert "ridge" in names["judged"].evaluation.summary().index
    assert names["message"].startswith("n_domains= must be at least 2")
    assert not (tmp_path / "more").exists()


def test_the_page_on_viewers_runs(tmp_path, monkeypatch):
    pytest.importorskip("shapely")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(DOCS / "viewers.md", "python"):
        exec(block, names)
    written = ["s1.geojson", "s1_spots.geojson", "s1.csv", "domains.csv", "clusters.csv"]
    assert [path.name for path in names["paths"]] == written
    page = (DOCS / "viewers.md").read_text(encoding="utf-8")
    assert all(name in page for name in (*EXPORTERS.ours(), *written))


def test_the_page_on_extensions_runs(tmp_path):
    names: dict[str, object] = {}
    for block in blocks(DOCS / "extend.md", "python"):
        exec(block, names)
    hq, section = names["hq"], names["adata"]
    [path] = hq.io.write_exports(
        hq.study.Study.of({"s1": section}).values(), tmp_path, {"lines": names["LINES"]}, hq.io.ExportOptions()
    )
    assert (tmp_path / path).read_text().startswith(f"{section.obs_names[0]} Domain ")
    assert names["found"] > 0.4
    assert "median" in set(names["judged"].scores["method"])
    assert names["slide_section"].obsm["X_mean_color"].shape == (100, 6)
