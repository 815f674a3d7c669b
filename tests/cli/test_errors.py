"""What the library advises is told in the words of the command."""

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import typer

import histoquilt
from histoquilt import io
from histoquilt._base import argument, at_a_command
from histoquilt.cli import run
from histoquilt.cli._app import app
from histoquilt.cli._console import print_messages
from histoquilt.gr import knn_graph
from histoquilt.im._read_ahead import read_ahead
from histoquilt.io.instruments._spatialdata import _choose_table
from histoquilt.io.instruments._visium_files import MATRIX, find_counts
from histoquilt.jobs import one_line
from histoquilt.jobs.work._record import capture_warnings
from histoquilt.models import SpatialFactors
from histoquilt.runtime import logger
from histoquilt.study import check_counts, check_obs_key, check_spatial
from histoquilt.tl import _memory
from histoquilt.tl._evaluate_domains import labelled_sections
from histoquilt.train import leave_one_out, section_groups

ROOT = Path(histoquilt.__file__).parent
CHECKS = {"check_obs_key", "check_obsm_key"}  # pass their argument= on
# arguments that are no options
NOT_REACHED = {
    "color",  # no command draws an embedding coloured by a column that the user names
    "confidence_key",  # commands draw and tabulate columns that they wrote themselves
    "n_resamples",  # commands resample as often as functions do by default
    "n_splits",
    "sources",  # commands have --stability
    "patient_key",  # commands read the column 'patient' of samples.csv, and name no other
}
# "name=" that no command comes across, or that is not advice
NO_ADVICE = {
    ("_align.py", "method"),  # no command aligns
    ("_align.py", "refine"),
    ("_domains.py", "config"),  # commands have a model or a configuration
    ("_feature_model.py", "out"),  # commands keep no embedding apart
    ("_prediction.py", "method"),  # commands draw the prediction they made
    ("_prediction.py", "genes"),
    ("_targets.py", "genes"),  # commands choose the panel by number
    ("_cache.py", "cache"),  # what was given
    ("_embed.py", "field_um"),  # what was found
    ("_inputs.py", "field_um"),
    ("_on_tissue.py", "image_scale"),
    ("_prediction.py", "field_um"),
}
# told in the words of Python at a command too, or in both
NOT_TRANSLATED = {
    ("_align.py", "reference"),
    ("_device.py", "device"),
    ("_domain_tree.py", "domain_key"),
    ("_domain_tree.py", "use_rep"),
    ("_feature_config.py", "image"),
    ("_processes.py", "device"),
    ("_side.py", "reference"),
}  # of functions that no command reaches with an argument of that name
CALL = re.compile(r"\b\w+(?:\.\w+)+\([^()]*\)")  # like histoquilt.io.attach_image(adata, path, mpp=...), is Python


def options() -> set[str]:
    commands = typer.main.get_command(app).commands.values()
    return {option for command in commands for parameter in command.params for option in parameter.opts}


def as_option(name: str) -> str:
    return "--" + name.replace("_", "-")


def trees() -> Iterator[tuple[Path, ast.Module, str | None]]:
    """Files of the library, with the name under which each knows ``argument``."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text())
        fronts = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names = [
            alias.asname or alias.name
            for front in fronts
            if front.module == "histoquilt._base"
            for alias in front.names
            if alias.name == "argument"
        ]
        yield path, tree, (names or [None])[0]


def calls(tree: ast.Module, name: str | None) -> list[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [node for node in found if node.func.id == name]


def test_every_argument_that_is_advised_is_an_option_or_cannot_be_reached():
    advised = set()
    for path, tree, name in trees():
        for call in calls(tree, name):
            if isinstance(call.args[0], ast.Constant):
                advised.add(call.args[0].value)
            else:  # the checks, whose callers name it; jobs, which name their own options
                assert path == ROOT / "study" / "_checks.py" or path.is_relative_to(ROOT / "jobs"), path
        for check in CHECKS:
            for call in calls(tree, check):
                (given,) = (keyword.value for keyword in call.keywords if keyword.arg == "argument")
                assert isinstance(given, ast.Constant), path
                advised.add(given.value)
    assert {"table", "counts_file", "section_key", "use_rep", "layer"} <= advised
    known = options()
    assert {name for name in advised if as_option(name) not in known} == NOT_REACHED


def test_every_option_that_is_advised_in_words_of_its_own_exists():
    named = set()
    for _, tree, _ in trees():
        for call in calls(tree, "either"):
            named |= set(re.findall(r"--[a-z][a-z-]*", ast.unparse(call.args[1])))
    assert {"--keep-all-spots", "--denoise", "--config", "--leave-out"} <= named
    assert named <= options()


def parts(text: ast.JoinedStr) -> list[ast.expr]:
    return text.values  # noqa: PD011  # no table


def in_python_words(tree: ast.Module) -> list[str]:
    """Texts outside docstrings and outside ``either``, what is filled in left out."""
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {id(node) for call in calls(tree, "either") for node in ast.walk(call)}
    skipped |= {id(part) for text in ast.walk(tree) if isinstance(text, ast.JoinedStr) for part in parts(text)}
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            found.append("".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts(node)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_no_text_advises_an_argument_in_the_words_of_python_alone():
    names = {option[2:].replace("-", "_") for option in options() if option.startswith("--")} | {
        "check_memory",
        "image_scale",
    }
    advice = re.compile(rf"(?<![\w.{{'])({'|'.join(sorted(names))})=(?=$|[\s,;)'{{\dTF]|\.(?!\.))")
    found = {
        (path.name, name)
        for path, tree, _ in trees()
        for text in in_python_words(tree)
        for name in advice.findall(CALL.sub("", text))
    }
    assert found - NO_ADVICE == NOT_TRANSLATED
    assert found >= NO_ADVICE


def side_by_side() -> ad.AnnData:
    """Two sections of one table, whose spots lie in the same places."""
    place = np.array([[x, y] for y in range(6) for x in range(6)], dtype=np.float64) * 100
    adata = ad.AnnData(np.ones((72, 2), np.float32), obs=pd.DataFrame({"slice": ["a"] * 36 + ["b"] * 36}))
    adata.obs_names = [f"s{i}" for i in range(72)]
    adata.obsm["spatial"] = np.vstack([place, place])
    return adata


def normalised(*, layer: bool = False, raw: bool = False) -> ad.AnnData:
    counts = np.arange(12, dtype=np.float32).reshape(4, 3) + 1
    adata = ad.AnnData(np.log1p(counts))
    if layer:
        adata.layers["my counts"] = counts
    if raw:
        adata.raw = ad.AnnData(counts, var=adata.var)
    return adata


def in_columns() -> ad.AnnData:
    return ad.AnnData(np.ones((3, 1)), obs=pd.DataFrame({"Centroid X": [1.0, 2, 3], "Centroid Y": [1.0, 2, 4]}))


def folder_with(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def too_large() -> None:
    job = _memory.Job(1_000_000, 3000, 0.0, 200, 3000, False, SpatialFactors())
    _memory.check_memory_suffices(job)


TWO_TABLES = SimpleNamespace(tables={"bins8": None, "bins16": None})
TWO_PATIENTS = pd.DataFrame({"patient": ["A", None]}, index=["s1", "s2"])
ONE_PATIENT = pd.DataFrame({"patient": ["A", "A"]}, index=["s1", "s2"])


@pytest.mark.parametrize(
    ("call", "python", "command"),
    [
        (lambda _: _choose_table(TWO_TABLES, "a.zarr", None), "Choose one with table=.", "Choose one with --table."),
        (lambda _: _choose_table(TWO_TABLES, "a.zarr", "b"), "Pass table=.", "Pass --table."),
        (lambda folder: find_counts(folder, "x"), "has no 'x' (counts_file=).", "has no 'x' (--counts-file)."),
        (
            lambda folder: find_counts(folder_with(folder, "raw_feature_bc_matrix.h5"), None),
            "to read it pass counts_file='raw_feature_bc_matrix.h5'.",
            "to read it pass --counts-file raw_feature_bc_matrix.h5.",
        ),
        (
            lambda folder: find_counts(folder_with(folder, *(f"{x} 1_{MATRIX}.h5" for x in "ab")), None),
            f"Choose one with counts_file='a 1_{MATRIX}.h5', or",
            f"Choose one with --counts-file 'a 1_{MATRIX}.h5', or",
        ),
        (
            lambda _: labelled_sections({"a": normalised()}, "tumor"),
            "label_key='tumor' is in obs of no section", "--label-key tumor is in obs of no section",
        ),
        (
            lambda _: check_obs_key(normalised(), "slice", argument="section_key"),
            "Pass section_key=.", "Pass --section-key.",
        ),
        (
            lambda _: check_spatial(in_columns()),
            "in obs: read the file with spatial_columns=Centroid X,Centroid Y (from Python: adata.obsm['spatial'] = "
            "adata.obs[['Centroid X', 'Centroid Y']].to_numpy()).",
            "in obs: --spatial-columns 'Centroid X,Centroid Y'.",
        ),
        (
            lambda _: io.check_one_section(side_by_side(), remedy="argument"),
            "Pass section_key='slice', or one_section=True if", "Pass --section-key slice, or --one-section if",
        ),
        (
            lambda _: io.check_one_section(side_by_side()),
            "call histoquilt.io.declare_one_section(adata).", "if they are one tissue, pass --one-section.",
        ),
        (
            lambda _: check_counts(normalised().X, "X", normalised(layer=True)),
            "pass layer='my counts'.", "pass --layer 'my counts'.",
        ),
        (
            lambda _: check_counts(normalised().X, "X", normalised(raw=True)),
            'genes: adata.layers["counts"] = adata.raw.X. ',
            'adata.layers["counts"] = adata.raw.X (in Python; write the file again with adata.write_h5ad). ',
        ),
        (lambda _: check_counts(normalised().X, "X"), "(or pass layer=).", "(or pass --layer)."),
        (
            lambda _: section_groups(TWO_PATIENTS),
            "every section, or leave out by='section'.", "every section, or use --leave-out section.",
        ),
        (
            lambda _: leave_one_out(ONE_PATIENT),
            "or leave out by='section', whose", "or use --leave-out section, whose",
        ),
        (
            lambda _: io.estimate_mpp(scattered()),
            "histoquilt.io.record_coordinates(adata, 'pixel', mpp=...).",
            "histoquilt.io.record_coordinates(adata, 'pixel', mpp=...).",
        ),
        (lambda _: too_large(), "To try all the same, pass check_memory=False.", "pass --ignore-memory."),
        (lambda _: too_large(), "denoise=False, or only", "--denoise none, or only"),
        (lambda _: too_large(), "SpatialFactorsConfig(n_pcs=50) (", '{"n_pcs": 50} in the file of --config ('),
        (lambda _: too_large(), "use_rep='X_pca'", "--use-rep X_pca"),
    ],
)  # fmt: skip
def test_words(call, python, command, tmp_path, monkeypatch):
    monkeypatch.setattr(_memory, "available_bytes", lambda: 6 * 10**9)
    errors = (KeyError, ValueError, OSError)
    with pytest.raises(errors) as caught:
        call(tmp_path)
    assert python in one_line(caught.value)
    with at_a_command(), pytest.raises(errors) as caught:
        call(tmp_path)
    assert command in one_line(caught.value)


def scattered() -> ad.AnnData:
    """Spots without a lattice."""
    adata = ad.AnnData(np.ones((200, 1), np.float32))
    adata.obsm["spatial"] = np.random.default_rng(0).uniform(0, 9999, (200, 2))
    return adata


def in_pieces() -> None:
    """Warn: two clumps of spots far apart."""
    adata = scattered()
    adata.obsm["spatial"][100:] += 1e6
    knn_graph(adata)


def test_warnings_and_the_log_are_told_in_options():
    with at_a_command(), print_messages(), capture_warnings() as captured:
        in_pieces()
        logger.warning("Choose one with %s.", argument("table"))
    assert len(captured) == 2
    assert "if they are several sections laid side by side, pass --section-key." in captured[0]
    assert captured[1] == "Choose one with --table."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        in_pieces()
    assert "pass section_key=." in str(caught[0].message)


def test_a_thread_that_reads_ahead_advises_options():
    def breaks() -> Iterator[int]:
        yield 1
        raise ValueError(f"Pass {argument('mpp')}.")

    with at_a_command(), pytest.raises(ValueError, match=r"Pass --mpp\."):
        list(read_ahead(breaks()))


def test_a_command_without_patients_names_the_column_and_the_way_without(refused, samples, three, tmp_path):
    for name, adata in three.items():
        adata.obsm["X_e"] = np.random.default_rng(0).normal(size=(adata.n_obs, 4)).astype(np.float32)
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    table = samples("section,counts", *(f"{name},{name}.h5ad" for name in three))
    line = refused("evaluate", table, "--methods", "mean", "--use-rep", "X_e", "-o", tmp_path / "out")
    assert "Fill the column 'patient' of samples.csv, or use --leave-out section." in line


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
