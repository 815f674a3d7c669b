"""Exports of many cells: CPU time and memory of every exporter, and the size of its files.

    python benchmarks/export.py --sizes 100000 1000000 --out export.csv

Toy cells (scattered at a density of one in 100 square microns, six wavy domains with islands, 100 genes of which 20 are
counted in a cell, confidence, integer cell identifiers) are written once as .h5ad. Every export is a process of its
own, on one thread, with two genes as measurements or quartiles. CPU time is that of the export alone; memory is the
peak resident set of the process, and ``section_gb`` what it had been before the export, with the section read.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

EXPORTERS = ("qupath", "loupe", "xenium-explorer", "viewers-h5ad", "seurat", "vitessce", "spatialdata")
GENES = ["gene0", "gene1"]


def build(n_cells: int, file: Path) -> None:
    """Write a section of toy cells."""
    import anndata as ad
    from scipy.sparse import csr_matrix

    import histoquilt as hq

    rng = np.random.default_rng(0)
    centres = rng.random((n_cells, 2)) * 10 * np.sqrt(n_cells)
    x, y = (centres / centres.max()).T
    wave = y + 0.05 * np.sin(12 * x)
    island = (np.sin(40 * x) * np.sin(40 * y)) > 0.9
    domain = np.where(island, 6, np.clip(wave * 5, 0, 4).astype(int) + 1)
    columns = np.sort(rng.integers(0, 100, (n_cells, 20)), axis=1).ravel().astype(np.int32)
    counts = csr_matrix(
        (np.ones(columns.size, np.float32), columns, np.arange(0, columns.size + 1, 20)), (n_cells, 100)
    )
    counts.sum_duplicates()
    adata = ad.AnnData(
        counts,
        obs=pd.DataFrame(
            {
                "domain": pd.Categorical(domain.astype(str)),
                "domain_confidence": rng.random(n_cells, dtype=np.float32),
                "cell_id": np.arange(1, n_cells + 1),
            },
            index=np.arange(1, n_cells + 1).astype(str),
        ),
        var=pd.DataFrame(index=[f"gene{number}" for number in range(100)]),
        obsm={"spatial": centres},
    )
    hq.io.record_coordinates(adata, "micron")
    hq.io.write_h5ad(adata, file)


def job(exporter: str, file: Path, folder: Path) -> dict[str, Any]:
    """Export the section of a file."""
    import histoquilt as hq
    from histoquilt.runtime import peak_bytes

    adata = hq.io.read_h5ad(file)
    before = peak_bytes()
    started, clock = time.process_time(), time.perf_counter()
    paths = hq.io.export({"cells": adata}, folder, to=exporter, genes=GENES, mpp=0.2125)
    facts = {"cpu_s": time.process_time() - started, "wall_s": time.perf_counter() - clock}
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return facts | {"section_gb": (before or 0) / 1e9, "peak_gb": (peak_bytes() or 0) / 1e9, "files_gb": size / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--to", nargs="+", default=EXPORTERS)
    parser.add_argument("--out", type=Path, default=Path("export.csv"))
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        exporter, file, folder = asked.job
        print(json.dumps(job(exporter, Path(file), Path(folder))))
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n_cells in asked.sizes:
            file = Path(folder) / f"cells_{n_cells}.h5ad"
            build(n_cells, file)
            for exporter in asked.to:
                exported = Path(folder) / f"{exporter}_{n_cells}"
                command = [sys.executable, __file__, "--job", exporter, str(file), str(exported)]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                shutil.rmtree(exported)
                facts = json.loads(done.stdout.splitlines()[-1])
                rows.append({"exporter": exporter, "n_cells": n_cells} | facts)
                print(rows[-1], flush=True)
                pd.DataFrame(rows).round(3).to_csv(asked.out, index=False)


if __name__ == "__main__":
    main()
