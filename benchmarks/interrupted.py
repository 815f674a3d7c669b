"""``kill -9`` at random moments: whether the same command, given again, ends as if nothing had happened.

    python benchmarks/interrupted.py --kills 20 --seed 0

Two jobs, on tissue from ``histoquilt.datasets`` that is written first: ``histoquilt domains --separate --resume`` of
six sections, and ``histoquilt predict --resume`` of ten slides. Each runs once undisturbed. Then, for every kill, a
fresh job is started, its process group is killed at a moment drawn evenly from the time of the undisturbed run, and the
same command is given again. It has to end with exit code 0 and with what the undisturbed run wrote: contents of every
.h5ad and bytes of every .csv and .png the same, ``run.json`` the same but for times, and nothing else left behind.

Jobs are forked from a process that has imported what they need, so that kills fall into the work and not into imports.
Training is kept every second, in place of every 15, because these sections train for a few. ``--quick`` makes all of
it small. Exits 1 unless all jobs end well.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TIMES = {"started", "finished", "wall_s", "peak_rss_mb", "timings", "arguments"}


@dataclass(frozen=True)
class Size:
    """How much each job has to do."""

    n_sections: int
    n_spots: int
    epochs: int
    n_slides: int
    slide_spots: int


FULL = Size(n_sections=6, n_spots=1500, epochs=60, n_slides=10, slide_spots=1500)
QUICK = Size(n_sections=2, n_spots=150, epochs=8, n_slides=3, slide_spots=60)


def build(folder: Path, size: Size, log: Path) -> dict[str, list[str]]:
    """Write tissue and a model; return name -> arguments of each job, without --out."""
    from PIL import Image

    from histoquilt.datasets import toy_section, toy_slides

    sections, slides = folder / "sections", folder / "slides"
    for made in (sections, slides):
        made.mkdir()
    for number in range(size.n_sections):
        toy_section(size.n_spots, 200, 4, seed=number).write_h5ad(sections / f"section{number}.h5ad")
    rows = ["section,counts,image,patient,mpp"]
    for number, (name, (adata, pixels)) in enumerate(
        toy_slides(size.n_slides, size.slide_spots, 60, 3, 0, mpp=2).items()
    ):
        Image.fromarray(pixels).save(slides / f"{name}.png")
        if number < 2:
            adata.uns.pop("spatial", None)
            adata.write_h5ad(folder / f"{name}.h5ad")
            rows.append(f"{name},{name}.h5ad,slides/{name}.png,p{number},2")
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")
    settings = {"max_epochs": size.epochs, "check_every": 2, "n_hidden": 64, "n_latent": 16}
    (folder / "settings.json").write_text(json.dumps(settings))
    train = ["train", folder / "samples.csv", "--method", "ridge", "--field-um", "100", "--out", folder / "model", "-q"]
    if finish(start([str(part) for part in train], log)) != 0:
        raise SystemExit(f"the model could not be trained: {log.read_text()}")
    method = ["--method", "spamask", "--config", folder / "settings.json"]
    domains = ["domains", *sorted(sections.iterdir()), "--separate", "-k", 4, *method]
    predict = ["predict", folder / "model", slides, "--mpp", 2]
    jobs = {"domains": domains, "predict": predict}
    return {name: [str(part) for part in [*job, "--resume", "-q"]] for name, job in jobs.items()}


def start(arguments: list[str], log: Path) -> int:
    """Run a command in a process group of its own; return its process id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        with log.open("w") as told:
            os.dup2(told.fileno(), 1)
            os.dup2(told.fileno(), 2)
        from histoquilt.cli import run

        code = run(arguments)
    finally:
        os._exit(code)


def finish(process: int, within: float | None = None) -> int | None:
    """Wait for a process and return its exit code; after ``within`` seconds kill its group, and return None."""
    end = None if within is None else time.monotonic() + within
    while end is None or time.monotonic() < end:
        ended, status = os.waitpid(process, 0 if end is None else os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def difference(found: Path, expected: Path) -> str:
    """Say in what two results folders differ; nothing where they do not."""
    from anndata.tests.helpers import assert_equal

    if (here := names(found)) != (there := names(expected)):
        return f"files: {sorted(set(here) ^ set(there))}"
    for name in there:
        if name.endswith(".h5ad"):
            try:
                assert_equal(timeless(found / name), timeless(expected / name), exact=True)
            except AssertionError as error:
                return f"{name}: {' '.join(str(error).split())[:200]}"
        elif name.endswith((".csv", ".png")) and (found / name).read_bytes() != (expected / name).read_bytes():
            return name
    first, second = (json.loads((folder / "run.json").read_text()) for folder in (found, expected))
    return ", ".join(
        key for key in first.keys() | second.keys() if key not in TIMES and first.get(key) != second.get(key)
    )


def timeless(path: Path):
    import anndata as ad

    adata = ad.read_h5ad(path)
    for method in ("spatial_factors", "spamask"):
        adata.uns["histoquilt"].get(method, {}).pop("wall_s", None)
    return adata


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def judge(name: str, arguments: list[str], folder: Path, n_kills: int, rng: np.random.Generator) -> int:
    """Kill a job many times, print a row for each; return how many ended well."""
    log = folder / f"{name}.log"
    begun = time.monotonic()
    if finish(start([*arguments, "--out", str(folder / name)], log)) != 0:
        raise SystemExit(f"the undisturbed run failed: {log.read_text()}")
    undisturbed = time.monotonic() - begun
    print(f"\n{name}: {undisturbed:.1f} s undisturbed")
    print(f"{'kill':>4} {'after s':>8} {'finished':>9} {'then s':>7}  result", flush=True)
    n_good = number = 0
    while number < n_kills:
        place = folder / f"{name}_{number}"
        place.mkdir()
        command = [*arguments, "--out", str(place / "out")]
        moment = rng.uniform(0, undisturbed)
        if finish(start(command, log), within=moment) is not None:  # it was done before its time came
            place.rename(folder / f"{name}_early_{time.monotonic_ns()}")
            continue
        kept = len(list((place / "out.partial" / "done").glob("*.json")))
        begun = time.monotonic()
        code = finish(start(command, log))
        again = time.monotonic() - begun
        wrong = f"exit code {code}: {log.read_text()}" if code else difference(place / "out", folder / name)
        if not wrong and names(place) != ["out"]:
            wrong = f"left behind: {names(place)}"
        n_good += not wrong
        number += 1
        print(f"{number:>4} {moment:>8.2f} {kept:>9} {again:>7.2f}  {wrong or 'same'}", flush=True)
    print(f"{name}: {n_good} of {n_kills}", flush=True)
    return n_good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=20, help="of each job")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--jobs", default="domains,predict")
    parser.add_argument("--quick", action="store_true", help="small tissue")
    options = parser.parse_args()
    import matplotlib.pyplot  # noqa: F401  what the jobs would import one after another
    import scanpy  # noqa: F401
    import torch
    import torch._dynamo  # imported by the first optimizer

    from histoquilt import im, io, metrics, models, report, tl  # noqa: F401
    from histoquilt.train import _checkpoint

    torch.set_num_threads(1)  # a pool of threads does not survive the fork
    _checkpoint.CHECKPOINT_EVERY = 0.0 if options.quick else 1.0
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        jobs = build(Path(folder), QUICK if options.quick else FULL, Path(folder) / "train.log")
        good = [judge(name, jobs[name], Path(folder), options.kills, rng) for name in options.jobs.split(",")]
    sys.exit(0 if all(n == options.kills for n in good) else 1)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
