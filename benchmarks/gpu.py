"""What a GPU is good for here: a training step on the CPU and on the GPU, in float32 and in bfloat16.

    python benchmarks/gpu.py --out gpu.csv          4,000 spots in one piece, 100,000 on tiles, both expression models
    python benchmarks/gpu.py --quick                the same in small, in a minute

Without a GPU it says so and measures the CPU alone. Steps of SpaMask are timed one by one at the published widths
(200-512-256), and the median is given; expression models are timed from ``fit`` to its end, at the papers' widths and
with few epochs, so that their numbers compare devices and are no training times. bfloat16 is measured where the
processor multiplies it: on GPUs from compute capability 8.0, on CPUs with AVX512-BF16 or AMX.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import histoquilt as hq
from histoquilt.gr._neighbors import knn_adjacency
from histoquilt.models.domains._feature_model import Tissue
from histoquilt.models.spamask._tiles import Tiles
from histoquilt.models.spamask._training import train_network
from histoquilt.nn._precision import _multiplies_bfloat16
from histoquilt.runtime._threads import use_threads

N_FEATURES = 200
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
Arm = tuple[torch.device, str]


def what_is_here() -> dict[str, Any]:
    """Facts of the machine that the numbers depend on."""
    facts: dict[str, Any] = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "CPU multiplies bfloat16": _multiplies_bfloat16(),
        "torch": torch.__version__,
        "built for CUDA": torch.version.cuda or "no",
    }
    if not torch.cuda.is_available():
        return facts | {"GPU": "none that torch sees: the CPU alone is measured"}
    found = torch.cuda.get_device_properties(CUDA)
    return facts | {
        "GPU": found.name,
        "GPU memory": f"{found.total_memory / 1e9:.0f} GB",
        "compute capability": f"{found.major}.{found.minor}",
        "GPU multiplies bfloat16": found.major >= 8,
    }


def arms() -> Iterator[Arm]:
    yield CPU, "float32"
    if _multiplies_bfloat16():
        yield CPU, "bfloat16"
    if torch.cuda.is_available():
        yield CUDA, "float32"
        if torch.cuda.get_device_capability(CUDA) >= (8, 0):
            yield CUDA, "bfloat16"


class Clock:
    """Takes the time at every step; stands where a progress bar would."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.times = device, [time.perf_counter()]

    def __call__(self, steps: int = 1, *, note: str = "") -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # kernels are started, not finished, when a call returns
        self.times.append(time.perf_counter())

    @property
    def median(self) -> float:
        """Of all steps but the first two, which load kernels and allocate memory."""
        return statistics.median(np.diff(self.times)[2:].tolist())


def spamask_step(n_spots: int, n_steps: int) -> Callable[[Arm], float]:
    """Return what measures seconds of a step on random features of a lattice: speed does not depend on values."""
    side = int(np.ceil(n_spots**0.5))
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:n_spots].astype(float)
    values = np.random.default_rng(0).standard_normal((n_spots, N_FEATURES), dtype=np.float32)
    wanted = hq.models.SpaMaskConfig(n_neighbors=6, max_epochs=n_steps + 2)
    tiles = Tiles.of(Tissue(knn_adjacency(places, 6), places, None), wanted.tile_spots)

    def measure(arm: Arm) -> float:
        device, precision = arm
        clock, config = Clock(device), replace(wanted, precision=precision)
        train_network(values, tiles, config, seed=0, device=device, advance=clock)
        return clock.median

    return measure


def expression_fit(model: Callable[[], hq.models.ExpressionModel], n_spots: int) -> Callable[[Arm], float]:
    """Return what measures seconds of a fit on four sections."""
    sections = hq.datasets.paired_study(n_sections=4, n_spots=n_spots, n_genes=400, seed=0)

    def measure(arm: Arm) -> float:
        device, _ = arm
        started = time.perf_counter()
        model().fit(sections, use_rep="X_image", device=device)
        return time.perf_counter() - started

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, help="of the CPU; by default what the machine grants")
    parser.add_argument("--out", type=Path, help="also write the table here, as .csv")
    arguments = parser.parse_args()
    small, n_steps = arguments.quick, 4 if arguments.quick else arguments.steps
    mclstexp = replace(hq.models.MclSTExpConfig.published("embedding"), max_epochs=1 if small else 10)
    spahgc = replace(hq.models.SpaHGCConfig.published(), max_epochs=1 if small else 10, check_every=1 if small else 10)
    n_whole, n_tiled, n_paired = (500, 3_000, 60) if small else (4_000, 100_000, 1_000)
    jobs = {
        f"SpaMask, {n_whole:,} spots in one batch, a step": spamask_step(n_whole, n_steps),
        f"SpaMask, {n_tiled:,} spots on tiles, a step": spamask_step(n_tiled, n_steps),
        f"MclSTExp, 4 x {n_paired:,} spots, a fit": expression_fit(lambda: hq.models.MclSTExp(mclstexp), n_paired),
        f"SpaHGC, 4 x {n_paired:,} spots, a fit": expression_fit(lambda: hq.models.SpaHGC(spahgc), n_paired),
    }
    rows = []
    with use_threads(arguments.threads):
        for name, value in what_is_here().items():
            print(f"{name}: {value}")
        for job, measure in jobs.items():
            for device, precision in arms():
                if precision == "bfloat16" and not job.startswith("SpaMask"):
                    continue  # expression models compute in float32
                seconds = measure((device, precision))
                rows.append({"job": job, "device": device.type, "precision": precision, "seconds": seconds})
                print(f"{job}, {device.type}, {precision}: {seconds:.4f} s", flush=True)
    table = pd.DataFrame(rows)
    wide = table.pivot_table(index="job", columns=["device", "precision"], values="seconds").reindex(list(jobs))
    print(wide.round(4).to_string(na_rep=""))
    if arguments.out is not None:
        table.to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
