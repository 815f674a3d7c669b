"""Two workers beside one: how much sooner eight sections are done on a Dask cluster.

    python benchmarks/cluster.py --out cluster_results

Eight sections (``histoquilt.datasets.toy_section``, about 5,000 spots of 500 genes each, written as .h5ad by this
script) and eight with an image (``toy_slide``) are worked on through the command line, as users do:

* ``domains``: ``histoquilt domains --separate --dask`` reads, checks and segments every section.
* ``embedding``: ``histoquilt train --method mean --dask`` reads every section and embeds its image; the method itself
  takes no time.

Every arm has a cluster of its own of one or of two processes, with one thread each. Arms alternate, after a first run
of each that is not counted: it is the one in which workers import torch and scanpy. ``with_start_s`` adds the time from
nothing to the end of that first run, cluster and imports included. Bar: two workers are 1.6 times as fast as one.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

BAR = 1.6
ARMS = (1, 2)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def build(folder: Path, n_sections: int, n_spots: int, n_paired: int) -> None:
    from PIL import Image

    from histoquilt.datasets import toy_section, toy_slide

    rows = ["section,counts,image,patient,mpp"]
    for seed in range(n_sections):
        toy_section(n_spots, 500, 6, seed=seed).write_h5ad(folder / f"s{seed}.h5ad")
        adata, pixels = toy_slide(n_spots=n_paired, n_genes=60, n_domains=3, seed=seed, mpp=1)
        del adata.uns["spatial"]
        adata.var_names = [f"GENE{number}" for number in range(adata.n_vars)]  # each seed has names of its own
        adata.write_h5ad(folder / f"paired{seed}.h5ad")
        Image.fromarray(pixels).save(folder / f"paired{seed}.png")
        rows.append(f"paired{seed},paired{seed}.h5ad,paired{seed}.png,p{seed},1")
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")


@contextmanager
def cluster(n_workers: int) -> Iterator[str]:
    """Yield the address of a scheduler with so many workers of one thread."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=n_workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as running:
        yield running.scheduler_address


def histoquilt(*arguments: object) -> dict[str, float]:
    """Run the program to its end; return the stages of its ``run.json``, in seconds."""
    command = [sys.executable, "-m", "histoquilt", *map(str, arguments), "-q", "--overwrite"]
    subprocess.run(command, check=True, env={**os.environ, **ONE_THREAD})
    out = Path(str(arguments[arguments.index("--out") + 1]))
    return json.loads((out / "run.json").read_text())["timings"]


def jobs(folder: Path, n_sections: int) -> dict[str, Callable[[str, Path], float]]:
    """Job -> runs it at an address, and returns how many seconds it took.

    The stages that workers time themselves overlap, so of ``domains`` the wall time is taken, with the report that
    this process writes alone, less its imports.
    """
    files = [folder / f"s{seed}.h5ad" for seed in range(n_sections)]

    def domains(address: str, out: Path) -> float:
        started = time.perf_counter()
        timings = histoquilt("domains", *files, "--separate", "-k", 6, "--dask", address, "--out", out)
        return time.perf_counter() - started - timings["import"]

    def embedding(address: str, out: Path) -> float:
        timings = histoquilt("train", folder / "samples.csv", "--method", "mean", "--dask", address, "--out", out)
        return timings["read"] + timings["embed"]

    return {"domains": domains, "embedding": embedding}


def measure(folder: Path, n_sections: int, repeats: int) -> pd.DataFrame:
    rows = []
    for job, run in jobs(folder, n_sections).items():
        started = {}
        for n_workers in ARMS:
            begin = time.perf_counter()
            with cluster(n_workers) as address:
                run(address, folder / job)
                started[n_workers] = time.perf_counter() - begin
        with cluster(1) as one, cluster(2) as two:
            addresses = dict(zip(ARMS, (one, two), strict=True))
            for address in addresses.values():
                run(address, folder / job)
            for repeat in range(repeats):
                for n_workers in ARMS if repeat % 2 == 0 else ARMS[::-1]:
                    seconds = run(addresses[n_workers], folder / job)
                    rows.append({"job": job, "workers": n_workers, "repeat": repeat, "seconds": seconds,
                                 "with_start_s": started[n_workers]})  # fmt: skip
                    print(f"{job}, {n_workers} worker(s): {seconds:.1f} s", flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", type=int, default=8)
    parser.add_argument("--spots", type=int, default=5000, help="of each section to segment")
    parser.add_argument("--paired-spots", type=int, default=1000, help="of each section with an image")
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    build(asked.out, asked.sections, asked.spots, asked.paired_spots)
    table = measure(asked.out, asked.sections, asked.repeats)
    table.to_csv(asked.out / "cluster.csv", index=False)
    for job, rows in table.groupby("job", sort=False):
        mean = rows.groupby("workers")[["seconds", "with_start_s"]].mean()
        ratio = mean.loc[1] / mean.loc[2]
        verdict = "meets" if ratio["seconds"] >= BAR else "misses"
        print(
            f"{job}: two workers {ratio['seconds']:.2f} x one ({mean.loc[1, 'seconds']:.1f} s, "
            f"{mean.loc[2, 'seconds']:.1f} s; {verdict} {BAR}); with start of cluster and imports "
            f"{ratio['with_start_s']:.2f} x"
        )


if __name__ == "__main__":
    main()
