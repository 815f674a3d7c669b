"""Options are declared by the jobs, and the command line follows."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from histoquilt import jobs
from histoquilt._base import DOMAIN_MODELS
from histoquilt.cli._app import app
from histoquilt.cli._generate import add_command
from histoquilt.jobs import RunConfig, options_of
from histoquilt.jobs.work._options import option

CONFIGS = {
    "domains": jobs.DomainsConfig,
    "train": jobs.TrainConfig,
    "predict": jobs.PredictConfig,
    "evaluate": jobs.EvaluateConfig,
    "demo": jobs.DemoConfig,
    "export": jobs.ExportConfig,
}


@dataclass(frozen=True, kw_only=True)
class TinyConfig(RunConfig):
    method: str = option("spamask", "{choices}.", choices=DOMAIN_MODELS)
    width_um: float | None = option(None, "Width.", metavar="UM")
    refine: bool = option(True, "Refine.", negatable=True)
    file: str | Path | None = option(None, "A file.")


@pytest.fixture
def given():
    """Run a command with the options of ``TinyConfig``; return what the job is given, and the output."""
    tiny, seen = typer.Typer(), []
    tiny.callback()(lambda: None)
    places = {"out": (Path, typer.Option("--out"), ...)}
    add_command(tiny, "tiny", TinyConfig, places, lambda where, config: seen.append((where, config)), help="Tiny.")

    def start(*arguments):
        result = CliRunner().invoke(tiny, ["tiny", *arguments])
        return (seen[-1] if seen else None), result.output

    return start


def test_fields_become_options_with_their_types(given):
    (where, config), _ = given("--out", "o", "--width-um", "2.5", "--no-refine", "-q", "--file", "a.json")
    assert where == {"out": Path("o")}
    assert config == TinyConfig(width_um=2.5, refine=False, progress=False, file=Path("a.json"))
    (_, config), _ = given("--out", "o")
    assert config == TinyConfig()


def test_help_has_text_choices_and_defaults(given):
    _, told = given("--help")
    assert ", ".join(DOMAIN_MODELS.names()) in " ".join(told.replace("│", " ").split())
    for text in ("--width-um", "UM", "--refine", "--no-refine", "--quiet", "-q", "[default: auto]"):
        assert text in told


@pytest.mark.parametrize("command", CONFIGS)
def test_every_option_of_a_job_is_one_of_its_command(command):
    params = {param.name: param for param in typer.main.get_command(app).commands[command].params}
    known = {field.name: (field, declared) for field, declared in options_of(CONFIGS[command])}
    assert set(known) <= set(params)
    assert set(params) - set(known) - {"help"} <= {"inputs", "samples", "model", "out", "results"}
    for name, (field, declared) in known.items():
        assert params[name].default == (False if declared.flag else field.default), name
        assert f"{name}\n    " in CONFIGS[command].__doc__
