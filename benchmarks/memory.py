"""Measure the peak memory of finding domains and of training, for the models that estimate them beforehand.

    python benchmarks/memory.py [domains] [training]    # both without an argument; minutes on an idle core

Writes memory.csv (domains) and memory_of_training.csv.
Every row is a process of its own: the peak of its resident set less what it held before the call, the section among it.
``tests/tl/test_memory.py`` and ``tests/models/test_training_memory.py`` hold the estimates (``histoquilt.tl._memory``,
``histoquilt.models.expression._training_memory``) above every row, and below 1.6 times it.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

ROWS = [  # spots, genes, columns of use_rep, denoised, model, settings
    (10_000, 500, 0, True, "SpatialFactors", {}),
    (30_000, 500, 0, True, "SpatialFactors", {}),
    (20_000, 2000, 0, False, "SpatialFactors", {}),
    (60_000, 500, 0, False, "SpatialFactors", {}),
    (30_000, 500, 0, True, "SharedFactors", {}),
    (60_000, 500, 0, False, "SharedFactors", {}),
    (100_000, 300, 50, False, "SpatialFactors", {}),
    (100_000, 300, 50, False, "SharedFactors", {}),
    (8_000, 300, 0, False, "SpaMask", {"max_epochs": 2}),
    (20_000, 300, 0, False, "SpaMask", {"max_epochs": 2}),
]

TRAININGS = [  # sections, spots of each, columns of the embeddings, genes, model
    (20, 500, 600, 1000, "ReducedRankRidge"),
    (40, 500, 300, 200, "ReducedRankRidge"),
    (20, 500, 300, 300, "Stack"),
    (100, 500, 600, 1000, "Stack"),
]


def measure_training(n_sections: int, n_spots: int, n_columns: int, n_genes: int, model: str) -> int:
    """Return the bytes of one training; in this process."""
    import numpy as np

    import histoquilt as hq
    from histoquilt.runtime import peak_bytes

    rng = np.random.default_rng(0)
    study = hq.datasets.paired_study(n_sections=n_sections, n_spots=n_spots, n_genes=n_genes, kind="both", seed=0)
    projection = rng.normal(size=(next(iter(study.values())).obsm["X_image"].shape[1], n_columns))
    for adata in study.values():
        noise = rng.normal(size=(adata.n_obs, n_columns))
        adata.obsm["X_wide"] = (adata.obsm["X_image"] @ projection + noise).astype(np.float32)
    small = {name: study[name][:40].copy() for name in list(study)[:2]}
    hq.models.Stack().fit(small, use_rep="X_wide", n_genes=10)  # what is loaded once
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_bytes()
    getattr(hq.models, model)().fit(study, use_rep="X_wide", n_genes=n_genes)
    return peak_bytes() - before


def measure(n_spots: int, n_genes: int, n_columns: int, denoise: bool, model: str, settings: dict) -> int:
    """Return the bytes of one run; in this process."""
    import numpy as np

    import histoquilt as hq
    from histoquilt.runtime import peak_bytes

    small = hq.datasets.toy_section(n_spots=5000, n_genes=n_genes, n_domains=6, seed=0)
    hq.tl.spatial_domains(small, 6, progress=False)  # what is loaded once
    from anndata import AnnData
    from scipy.sparse import vstack

    times = -(-n_spots // small.n_obs)
    adata = AnnData(vstack([small.X] * times, format="csr")[:n_spots], var=small.var)
    side = int(np.ceil(times**0.5))
    shift = np.ptp(small.obsm["spatial"], axis=0) + 50
    places = [small.obsm["spatial"] + shift * [k % side, k // side] for k in range(times)]
    adata.obsm["spatial"] = np.concatenate(places)[:n_spots]
    adata.uns["histoquilt"] = {"scale": {"X": "counts"}}
    use_rep = None
    if n_columns:
        use_rep = "X_own"
        rng = np.random.default_rng(0)
        adata.obsm[use_rep] = rng.normal(size=(n_spots, n_columns)).astype(np.float32)
        adata.obsm[use_rep] += np.sin(adata.obsm["spatial"][:, :1] / 300)
    kind = getattr(hq.models, model)
    untrained = kind(kind.config_class(**settings))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_bytes()
    hq.tl.spatial_domains(adata, 6, model=untrained, use_rep=use_rep, denoise=denoise, one_section=True, progress=False)
    return peak_bytes() - before


def measure_domains() -> None:
    """Measure all rows of memory.csv and write it."""
    with Path(__file__).with_name("memory.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["n_spots", "n_genes", "n_columns", "denoised", "model", "settings", "megabytes"])
        for row in ROWS:
            *named, settings = row
            table.writerow([*named, json.dumps(settings), megabytes("domains", row)])
            file.flush()


def measure_trainings() -> None:
    """Measure all rows of memory_of_training.csv and write it."""
    with Path(__file__).with_name("memory_of_training.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["n_sections", "n_spots", "n_columns", "n_genes", "model", "megabytes"])
        for row in TRAININGS:
            table.writerow([*row, megabytes("training", row)])
            file.flush()


def megabytes(table: str, row: tuple) -> int:
    """Measure one row of a table in a process of its own."""
    command = [sys.executable, __file__, "row", table, json.dumps(row)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    print(table, row, found.stdout.strip(), flush=True)
    return round(int(found.stdout.split()[-1]) / 1e6)


TABLES = {"domains": measure_domains, "training": measure_trainings}


def main() -> None:
    if sys.argv[1:2] == ["row"]:
        of_row = {"domains": measure, "training": measure_training}[sys.argv[2]]
        print(of_row(*json.loads(sys.argv[3])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], metavar="{domains,training}")
    for name in parser.parse_args().tables or TABLES:
        TABLES[name]()


if __name__ == "__main__":
    main()
