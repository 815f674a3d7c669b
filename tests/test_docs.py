"""The documentation promises nothing that does not run."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest

DOCS = Path(__file__).parents[1] / "docs"
README = DOCS.parent / "README.md"


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page that are in one language; ``""`` is the shell."""
    fenced = re.findall(r"^```(\S*)\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [text for found, text in fenced if found == language]


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path, monkeypatch):
    pytest.importorskip("igraph")
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(DOCS / "tutorial.md", "python"):
        exec(block, names)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "toy.h5ad").exists()
    hw, adata = names["hw"], names["adata"]
    assert hw.metrics.ari(adata.obs["domain_true"], adata.obs["domain"]) > 0.5


def test_the_alignment_page_runs():
    names: dict[str, object] = {}
    for block in blocks(DOCS / "alignment.md", "python"):
        exec(block, names)
    assert names["adata"].uns["histoweave"]["alignment"]["s2"]["mirrored"]
    assert names["right"].uns["histoweave"]["alignment"]["right"]["scale"] == pytest.approx(1 / 1.5, rel=0.03)


@pytest.mark.parametrize("name", ["../README", "cli", "tutorial", "install"])
def test_every_command_and_option_in_the_text_exists(name, capsys):
    from histoweave.cli import run

    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    shell = "".join(blocks(DOCS / f"{name}.md", ""))
    commands = set(re.findall(r"^histoweave ([a-z]+)\b", shell, flags=re.MULTILINE))
    commands |= set(re.findall(r"`histoweave ([a-z]+)\b", text))
    assert commands
    known = ""
    for command in commands:
        assert run([command, "--help"]) == 0, command
        known += capsys.readouterr().out
    used = {option for line in re.findall(r"^histoweave .*|`-[^`]*`", text, flags=re.MULTILINE)
            for option in re.findall(r"--[a-z-]+", line)}  # fmt: skip
    known += "--debug --version"
    assert [option for option in sorted(used) if option not in known] == []


@pytest.mark.parametrize("page", [README, *sorted(DOCS.rglob("*.md"))], ids=lambda p: p.stem)
def test_every_public_name_in_the_text_exists(page):
    import histoweave

    text = page.read_text(encoding="utf-8")
    if "_build" in page.parts or "generated" in page.parts:
        pytest.skip("made by sphinx")
    for name in re.findall(r"\{(?:func|class)\}`histoweave\.([\w.]+)`", text) + re.findall(r"\bhw\.([\w.]+)\(", text):
        found = histoweave
        for part in name.split("."):
            assert hasattr(found, part), name
            found = getattr(found, part)
