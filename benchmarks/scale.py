"""A million cells: time, memory and agreement with the known domains, as the tissue grows.

    python benchmarks/scale.py --out scale_results --picture docs/_static/scale.png
    python benchmarks/scale.py --arms bins --sizes 500000 2000000 10000000 --genes 300 --seeds 0 \\
        --memory-gb 16 --minutes 40 --out bins_results

Every job is a process of its own. Tissue (``histoquilt.datasets.toy_section``, 500 genes, six domains: principal
components and k-means reach an ARI around 0.5, every second layer is four cells wide, islands lie scattered, and more
cells are more tissue) is made once and written as .h5ad. The job of each arm is to read it and to find six domains:

* ``histoquilt``: ``histoquilt.tl.spatial_domains`` with its defaults, with every seed of ``--seeds``.
* ``bins``: the same, without denoising, of a square lattice of bins in wavy layers, which is never in memory as a
  whole: written chunk by chunk, and read backed. It has no other arm beside it.
* ``pca``, ``averaged``: trivial baselines, the tissue's difficulty: the same principal components divided by k-means,
  as they are, and averaged twice over each cell's neighbours in the graph that the domains are found with; every seed.

Time is that of the job from the start of its process to its end; memory is the peak resident set that the operating
system counts. A job may take ``--memory-gb`` (private memory, a limit that the system enforces: RLIMIT_DATA) and
``--minutes``; larger sizes of an arm that was stopped are not tried. Tissue and method share the seed. Exponents are
slopes of least squares through the logarithms, from ``--fit-from`` cells up. ``scale.csv`` is written after every job,
and ``--summarise`` puts several such files together.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
N_DOMAINS = 6
ARMS = {
    "histoquilt": "histoquilt",
    "bins": "histoquilt, bins in a file",
    "pca": "PCA + k-means",
    "averaged": "averaged PCA + k-means",
}
COLOURS = {"histoquilt": "#1b6ca8", "bins": "#c05a00", "pca": "#bbbbbb", "averaged": "#7a7a7a"}
EXHAUSTED = ("MemoryError", "can't allocate memory", "not enough memory", "Unable to allocate", "bad_alloc")


def peak_gb() -> float:
    """Peak resident set of this process, in GB of 10**9 bytes."""
    from histoquilt.runtime._memory import peak_bytes

    return (peak_bytes() or np.nan) / 1e9


def limit_memory(gigabytes: float) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 1e9),) * 2)


# --- jobs, each in a process of its own ---------------------------------------------------------------------------


def build(n_spots: int, n_genes: int, seed: int, file: Path) -> dict[str, Any]:
    from histoquilt.datasets import toy_section

    started = time.perf_counter()
    adata = toy_section(n_spots, n_genes, N_DOMAINS, seed=seed)
    facts = {"build_s": time.perf_counter() - started, "build_gb": peak_gb(), "nnz": int(adata.X.nnz)}
    adata.write_h5ad(file)
    return facts


def build_bins(n_spots: int, n_genes: int, seed: int, file: Path) -> dict[str, Any]:
    """Write a square lattice of 2 um bins, about 20 counts each, to the file chunk by chunk (Visium HD's are so)."""
    import anndata as ad
    import h5py
    from scipy.sparse import csr_matrix

    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    width = int(np.ceil(np.sqrt(n_spots)))
    rates = rng.gamma(0.3, size=n_genes) * rng.gamma(2.0, size=(N_DOMAINS, n_genes))
    rates *= 20 / rates.sum(axis=1, keepdims=True)
    row, column = np.divmod(np.arange(n_spots, dtype=np.int32), np.int32(width))
    height = row / width + 0.08 * np.sin(column * (9 / width))  # wavy layers
    domain = np.clip(((height + 0.08) / 1.16 * N_DOMAINS).astype(np.int8), 0, N_DOMAINS - 1)
    obs = pd.DataFrame({"domain_true": pd.Categorical(domain)}, index=np.char.add("b", np.arange(n_spots).astype(str)))
    adata = ad.AnnData(obs=obs, var=pd.DataFrame(index=[f"gene{number}" for number in range(n_genes)]))
    adata.obsm["spatial"] = np.column_stack([2.0 * column, 2.0 * row])
    adata.write_h5ad(file)
    with h5py.File(file, "r+") as written:
        written.pop("X", None)
        x = written.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n_spots, n_genes)})
        kinds = {"data": np.float32, "indices": np.int32}
        stored = {name: x.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(2**20,))
                  for name, kind in kinds.items()}  # fmt: skip
        ends, n_stored = [np.zeros(1, np.int64)], 0
        for start in range(0, n_spots, 50_000):
            part = csr_matrix(rng.poisson(rates[domain[start : start + 50_000]]).astype(np.float32))
            for name, dataset in stored.items():
                dataset.resize((n_stored + part.nnz,))
                dataset[n_stored:] = getattr(part, name)
            ends.append(part.indptr[1:].astype(np.int64) + n_stored)
            n_stored += part.nnz
        x["indptr"] = np.concatenate(ends)
    return {"build_s": time.perf_counter() - started, "build_gb": peak_gb(), "nnz": n_stored}


def job(arm: str, file: Path, seed: int) -> dict[str, Any]:
    """Read, find domains, compare them with the known ones, which nothing before has seen."""
    import anndata as ad
    import torch

    from histoquilt.metrics import ari
    from histoquilt.runtime import Stages

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    started = time.perf_counter()
    adata = ad.read_h5ad(file, backed="r" if arm == "bins" else None)
    truth = adata.obs.pop("domain_true")
    facts: dict[str, Any] = {"read_s": time.perf_counter() - started, "read_gb": peak_gb()}
    started, stages = time.perf_counter(), Stages()
    with stages.stage("domains"):
        facts |= FINDERS[arm](adata, seed)
    facts |= {f"{name}_stage_s": seconds for name, seconds in stages.seconds().items()}
    facts |= {"domains_s": time.perf_counter() - started, "peak_gb": peak_gb()}
    facts["ari"] = float(ari(truth.to_numpy(), adata.obs["domain"].to_numpy()))
    return facts


def find_domains(adata: Any, seed: int) -> dict[str, Any]:
    import histoquilt as hq

    denoise = not adata.isbacked
    # the system enforces the limit
    hq.tl.spatial_domains(adata, N_DOMAINS, seed=seed, denoise=denoise, progress=False, check_memory=False)
    trained = adata.uns["histoquilt"][hq.models.SharedFactors.method]
    return {"training_s": trained["wall_s"], "factors": int(trained["n_factors"])}


def find_domains_by_kmeans(adata: Any, seed: int, *, averagings: int = 0) -> dict[str, Any]:
    from scipy.sparse import diags, eye

    import histoquilt as hq
    from histoquilt.gr import knn_adjacency

    values = hq.pp.GeneFeatures.fit(hq.pp.expression(adata), seed=seed)[1]
    if averagings:
        links = knn_adjacency(adata.obsm["spatial"], hq.models.SpatialFactorsConfig().n_neighbors)
        links.data[:] = 1
        links = links + eye(adata.n_obs, format="csr")
        for _ in range(averagings):
            values = diags(1 / np.asarray(links.sum(axis=1)).ravel()) @ (links @ values)
    adata.obsm["X_pca"] = values.astype(np.float32)
    hq.tl.cluster_kmeans(adata, N_DOMAINS, use_rep="X_pca", n_starts=10, seed=seed)
    return {}


FINDERS: dict[str, Callable[[Any, int], dict[str, Any]]] = {
    "histoquilt": find_domains,
    "bins": find_domains,
    "pca": find_domains_by_kmeans,
    "averaged": partial(find_domains_by_kmeans, averagings=2),
}


# --- the bench ----------------------------------------------------------------------------------------------------


def in_a_process(arguments: list[str], minutes: float) -> tuple[dict[str, Any], float]:
    """Run this file again; returns the facts it prints last, or why it gave none, and the seconds it took."""
    started = time.perf_counter()
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * minutes, check=False)
    except subprocess.TimeoutExpired:
        return {"gave_up": f"more than {minutes:g} minutes"}, time.perf_counter() - started
    seconds = time.perf_counter() - started
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1]), seconds
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if done.returncode == -signal.SIGKILL or any(word in done.stderr for word in EXHAUSTED):
        return {"gave_up": "out of memory", "last_words": last[:300]}, seconds
    raise SystemExit(f"{' '.join(arguments)} failed, and not for want of memory:\n{done.stderr}")


def exponents(table: pd.DataFrame, fit_from: int) -> pd.DataFrame:
    """Slopes of log time and log memory on log cells, of each arm that has two sizes to fit."""
    rows = []
    for arm, part in table[table["n_spots"] >= fit_from].dropna(subset="wall_s").groupby("arm", sort=False):
        n_sizes = part["n_spots"].nunique()
        if n_sizes > 1:
            size = np.log(part["n_spots"])
            slopes = {f"{name} exponent": np.polyfit(size, np.log(part[column]), 1)[0] for name, column in MEASURED}
            rows.append({"arm": ARMS[arm], "sizes": n_sizes, **slopes})
    return pd.DataFrame(rows)


MEASURED = (("time", "wall_s"), ("memory", "peak_gb"))


def draw(table: pd.DataFrame, slopes: pd.DataFrame, picture: Path) -> None:
    from matplotlib.figure import Figure

    labels = {"wall_s": "seconds, start to end", "peak_gb": "peak memory (GB)", "ari": "ARI to the known domains"}
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, (column, label) in zip(figure.subplots(1, 3), labels.items(), strict=True):
        arms = ARMS if column == "ari" else [arm for arm in ARMS if arm not in ("pca", "averaged")]
        for arm, part in ((arm, table[table["arm"] == arm]) for arm in arms):
            ran = part.dropna(subset="wall_s").groupby("n_spots")[column]
            found = slopes[slopes["arm"] == ARMS[arm]] if len(slopes) else slopes
            name = {"wall_s": "time", "peak_gb": "memory"}.get(column)
            power = f", n^{found[f'{name} exponent'].iloc[0]:.2f}" if name and len(found) else ""
            mean, spread = ran.mean(), ran.std().fillna(0)
            axes.errorbar(mean.index, mean, spread, fmt="o-", ms=4, color=COLOURS[arm], label=ARMS[arm] + power)
            stopped = part.loc[part["wall_s"].isna()]
            for n_spots, reason in zip(stopped["n_spots"], stopped["gave_up"], strict=True):
                axes.axvline(n_spots, color=COLOURS[arm], linestyle=":", linewidth=1)
                if column == "wall_s":
                    axes.annotate(
                        f"stopped: {reason}", (n_spots, 0.99), xycoords=("data", "axes fraction"), rotation=90,
                        xytext=(-4, 0), textcoords="offset points", fontsize=7, color=COLOURS[arm], ha="right",
                        va="top",
                    )  # fmt: skip
        axes.set_xscale("log")
        if column == "ari":
            axes.set_ylim(0, 1)
        else:
            axes.set_yscale("log")
            axes.margins(y=0.1)
            ticks = [step * 10.0**power for power in range(-1, 5) for step in (1, 2, 5)]
            low, high = axes.get_ylim()
            axes.set_yticks([tick for tick in ticks if low <= tick <= high])
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("cells")
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(
            frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if column == "ari" else 1
        )
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=130)


def markdown(table: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    for row in table.itertuples(index=False):
        cells = ["" if pd.isna(v) else f"{v:,.3f}" if isinstance(v, float) else f"{v:,}" if isinstance(v, int) else v
                 for v in row]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds and their spread, in the words of people."""
    rows = []
    for (n_spots, arm), part in table.groupby(["n_spots", "arm"], sort=False):
        row = {"cells": n_spots, "with": ARMS[arm], "seeds": len(part), "seconds": part["wall_s"].mean()}
        row |= {"of which training": part["training_s"].mean(), "peak GB": part["peak_gb"].max()}
        row |= {"ARI": part["ari"].mean(), "ARI sd": part["ari"].std()}
        stopped = part["gave_up"].dropna()
        rows.append(row | {"stopped by": f"{stopped.iloc[0]}" if len(stopped) else ""})
    return pd.DataFrame(rows)


def bench(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    arms = list(arguments.arms)
    rows: list[dict[str, Any]] = []
    given_up: set[str] = set()
    for n_spots in sorted(arguments.sizes):
        for seed in arguments.seeds:
            file = out / f"tissue_{n_spots}_{seed}.h5ad"
            given = ["--seeds", str(seed), "--file", str(file)]
            build_it = ["--build", str(n_spots), "--genes", str(arguments.genes), "--arms", *arms]
            built, _ = in_a_process([*build_it, *given], minutes=60)
            if "gave_up" in built:
                raise SystemExit(f"Making {n_spots:,} cells failed: {built['gave_up']}")
            try:
                for arm in [arm for arm in arms if arm not in given_up]:
                    limits = ["--memory-gb", str(arguments.memory_gb)]
                    facts, seconds = in_a_process(["--job", arm, *given, *limits], minutes=arguments.minutes)
                    if "gave_up" in facts:
                        given_up.add(arm)
                        facts["gave_up_after_s"] = seconds
                    else:
                        facts["wall_s"] = seconds
                    rows.append({"arm": arm, "n_spots": n_spots, "seed": seed, **built, **facts})
                    pd.DataFrame(rows).to_csv(out / "scale.csv", index=False)
                    print(json.dumps(rows[-1]), flush=True)
            finally:
                file.unlink(missing_ok=True)
    summarise(pd.DataFrame(rows), arguments)


def summarise(table: pd.DataFrame, arguments: argparse.Namespace) -> None:
    """Write the table of means, the exponents and the growth plot."""
    out: Path = arguments.out
    measured = ("wall_s", "training_s", "peak_gb", "ari", "gave_up")
    table = table[table["arm"].isin(ARMS)]  # scale.csv also has rows of PyTorch Geometric, measured once
    table = table.reindex(columns=dict.fromkeys([*table.columns, *measured]))
    slopes = exponents(table, arguments.fit_from)
    if table["wall_s"].notna().any():
        draw(table, slopes, arguments.picture or out / "scale.png")
    text = f"{markdown(shown(table))}\n\n{markdown(slopes)}\n"
    (out / "scale.md").write_text(text)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--genes", type=int, default=500)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=[arm for arm in ARMS if arm != "bins"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--summarise", type=Path, nargs="+", help="rows of earlier runs (scale.csv), put together")
    parser.add_argument("--memory-gb", type=float, default=10.0, help="private memory that one job may take")
    parser.add_argument("--minutes", type=float, default=20.0, help="time that one job may take")
    parser.add_argument("--fit-from", type=int, default=30_000, help="smallest size that exponents are fitted to")
    parser.add_argument("--out", type=Path, default=Path("scale_results"))
    parser.add_argument("--picture", type=Path, help="growth plot; by default scale.png in --out")
    parser.add_argument("--build", type=int, help=argparse.SUPPRESS)  # the two kinds of child
    parser.add_argument("--job", choices=list(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if "bins" in arguments.arms and len(arguments.arms) > 1:
        parser.error("--arms bins has a tissue of its own: run it alone")
    if arguments.summarise:
        arguments.out.mkdir(parents=True, exist_ok=True)
        summarise(pd.concat([pd.read_csv(file) for file in arguments.summarise]), arguments)
        return
    if arguments.build is None and arguments.job is None:
        bench(arguments)
        return
    warnings.filterwarnings("ignore")
    if arguments.build is not None:
        facts = (build_bins if arguments.arms == ["bins"] else build)(
            arguments.build, arguments.genes, arguments.seeds[0], arguments.file
        )
    else:
        limit_memory(arguments.memory_gb)
        facts = job(arguments.job, arguments.file, arguments.seeds[0])
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
