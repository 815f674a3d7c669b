"""What the library advises is told in the words of the command."""

import ast
import re
import warnings
from pathlib import Path

import anndata as ad
import pytest
import typer

import histoquilt
from histoquilt.cli import run
from histoquilt.cli._app import app
from histoquilt.cli._console import told
from histoquilt.cli._errors import CALL, in_options
from histoquilt.runtime._log import logger

REMEDY = re.compile(r"(?<![\w.{'])([a-z][a-z_]*)=(?=$|[\s.,;)'{\dTN])")
# names of no option that no command can come across, or that are not an argument
NOT_REACHED = {
    ("_samples_table.py", "index"),  # of pandas
    ("_slide.py", "out_px"),  # commands read pictures of a fixed size
    ("_tables.py", "spot"),  # plain tables are not read by commands
    ("_tables.py", "transpose"),
    ("_align.py", "reference"),  # no command aligns
    ("_align.py", "refine"),
    ("_align.py", "method"),
    ("_side.py", "reference"),
    ("_domains.py", "config"),  # commands have a model or a configuration
    ("_domains.py", "model"),
    ("_meta_genes.py", "start_gene"),  # no command makes meta genes
    ("_trajectory.py", "root"),  # commands choose the root themselves
}
CONFIG = re.compile(r"SpaMaskConfig\(\w+=\w*\)")  # told as a line of --config


def texts(path: Path) -> list[str]:
    """Texts of a file as they are shown, ``x`` for what is filled in; docstrings left out."""
    tree = ast.parse(path.read_text())
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = node.values
            found.append("".join(part.value if isinstance(part, ast.Constant) else _filled(part) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | docs:
            found.append(node.value)
    return found


def _filled(part: ast.FormattedValue) -> str:
    return "'x'" if part.conversion == ord("r") or "[0]" in ast.unparse(part) else "3"


def remedies() -> list[tuple[str, str]]:
    root = Path(histoquilt.__file__).parent
    rooms = ("io", "align", "tl")
    files = [path for room in rooms for path in sorted((root / room).rglob("*.py"))]
    return [(path.name, text) for path in files for text in texts(path) if REMEDY.search(text)]


def test_every_argument_in_a_message_is_told_as_an_option_or_cannot_be_reached():
    found = remedies()
    assert len(found) > 20
    left = [
        (file, name, text)
        for file, text in found
        for name in REMEDY.findall(CONFIG.sub("", CALL.sub("", in_options(text))))
        if (file, name) not in NOT_REACHED
    ]
    assert left == []


def test_what_is_told_is_an_option_of_some_command():
    commands = typer.main.get_command(app).commands.values()
    options = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = {
        option for _, text in remedies() for option in re.findall(r"--[a-z-]+", in_options(text)) if option != "--"
    }
    assert {"--table", "--counts-file", "--section-key"} <= named
    assert named <= options


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Pass table=.", "Pass --table."),
        ("There is no 'x' (counts_file=).", "There is no 'x' (--counts-file)."),
        ("to read it pass counts_file='raw.h5'.", "to read it pass --counts-file raw.h5."),
        ("Choose one with counts_file='a b.h5', or", "Choose one with --counts-file 'a b.h5', or"),
        ("label_key='tumor' is in obs", "--label-key tumor is in obs"),
        ("name it with selection=, or read the counts", "give yours that name, or read the counts"),
        ("Choose with bin_size=.", "Give the folder of one of them."),
        ("a.record_coordinates(adata, 'pixel', mpp=...).", "a.record_coordinates(adata, 'pixel', mpp=...)."),
        ("use_rep='X_pca'", "--use-rep X_pca"),
    ],
)
def test_words(message, words):
    assert in_options(message) == words


def test_warnings_are_told_in_options_too():
    with told() as console:
        warnings.warn("Sections laid side by side? Pass section_key=.", UserWarning, stacklevel=1)
        logger.warning("Choose one with table=.")
    assert console.warnings == ["Sections laid side by side? Pass --section-key.", "Choose one with --table."]


def test_a_table_of_counts_without_selection_names_what_can_be_done(refused, tmp_path):
    (tmp_path / "MOB1.tsv").write_text("\tGeneA\n1x1\t3\n")
    line = refused("domains", tmp_path / "MOB1.tsv", "-k", 2, "-o", tmp_path / "out")
    assert "alignment_table_MOB1.tsv" in line
    assert "give yours that name" in line
    assert "selection=" not in line


def test_several_tables_and_one_chosen(refused, section, tmp_path):
    spatialdata = pytest.importorskip("spatialdata", reason="the extra 'spatial' is not installed")
    tables = {}
    for name, n_spots in (("bins8", 200), ("bins16", 120)):
        tables[name] = ad.AnnData(section.X[:n_spots].copy(), obs=section.obs.iloc[:n_spots, :0], var=section.var)
        tables[name].obsm["spatial"] = section.obsm["spatial"][:n_spots].copy()
    spatialdata.SpatialData(tables=tables).write(tmp_path / "hd.zarr")
    command = ("domains", tmp_path / "hd.zarr", "-k", 2, "-o", tmp_path / "out", "--denoise", "none")
    line = refused(*command)
    assert "has 2 tables: 'bins16', 'bins8'. Choose one with --table." in line
    line = refused(*command, "--table", "bins2")
    assert "'bins2' is not a table" in line
    assert run([str(argument) for argument in (*command, "--table", "bins16")]) == 0
    assert ad.read_h5ad(tmp_path / "out" / "hd.h5ad").n_obs == 120
