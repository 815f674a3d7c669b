"""Choose the defaults of SpatialFactors without labels.

    HISTOQUILT_DATA=... python benchmarks/select_defaults.py

Every label column is dropped when a file is read. The score of a setting is how well domains predict expression at
places that were not looked at: a fifth of the spots is removed, domains are found in the rest, a removed spot gets the
majority domain of the six nearest spots, and the score is the share of the variance of its expression (30 leading
principal components, each rank-transformed, so that no setting's own scaling is favoured) that the mean of that domain
explains. Too little smoothing scores low because domains are noise, too much because thin domains are lost. The number
of domains is the one used in the benchmark. The mean over sections, and over two draws (eight in small sections),
decides; the table goes to ``defaults.csv``, and a test holds its best row against ``SpatialFactorsConfig()``.
"""

import argparse
import json
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import rankdata

SECTIONS = {  # file: number of domains
    "dlpfc/151673.h5ad": 7,
    "dlpfc/151674.h5ad": 7,
    "dlpfc/151675.h5ad": 7,
    "dlpfc/151676.h5ad": 7,
    "dlpfc_pca/151507.h5ad": 7,
    "dlpfc_pca/151669.h5ad": 5,
    "starmap/visual_cortex_BY3_1k.h5ad": 7,
    "mob_layers/rep11.h5ad": 5,
    "her2st/A1.h5ad": 5,
    "her2st/B1.h5ad": 4,
    "her2st/C1.h5ad": 3,
    "her2st/D1.h5ad": 3,
    "her2st/F1.h5ad": 3,
}
LABELS = ["layer_guess", "layer", "label", "cell_type"]


def settings() -> dict[str, dict]:
    """One change at a time from the default."""
    return {
        "default": {},
        "30 components": {"n_components": 30},
        "own length": {"equal_length": False},
        "outliers at 3 sd": {"outlier_sd": 3.0},
    }


def read(path: Path) -> ad.AnnData:
    adata = ad.read_h5ad(path)
    adata.obs = adata.obs.drop(columns=LABELS, errors="ignore")
    return adata


def references(adata: ad.AnnData) -> np.ndarray:
    """What domains have to predict: ranks of the 30 leading principal components, unit variance."""
    from histoquilt.pp import GeneFeatures, expression

    values = adata.obsm["X_pca"] if adata.n_vars == 0 else GeneFeatures.fit(expression(adata), n_pcs=30)[1]
    ranks = rankdata(values[:, :30], axis=0)
    return (ranks - ranks.mean(axis=0)) / ranks.std(axis=0)


def score(adata: ad.AnnData, n_domains: int, config, draw: int, target: np.ndarray) -> float:
    from histoquilt.tl import spatial_domains

    removed = np.random.default_rng(draw).random(adata.n_obs) < 0.2
    seen = adata[~removed].copy()
    use_rep = "X_pca" if adata.n_vars == 0 else None
    spatial_domains(seen, n_domains, config=config, use_rep=use_rep, denoise=False, seed=draw, progress=False)
    codes = seen.obs["domain"].cat.codes.to_numpy()
    means = np.stack([target[~removed][codes == domain].mean(axis=0) for domain in range(n_domains)])
    _, near = cKDTree(seen.obsm["spatial"]).query(adata.obsm["spatial"][removed], k=6)
    votes = np.stack([(codes[near] == domain).sum(axis=1) for domain in range(n_domains)], axis=1)
    error = ((target[removed] - means[votes.argmax(axis=1)]) ** 2).sum()
    return float(1 - error / ((target[removed] - target[~removed].mean(axis=0)) ** 2).sum())


def score_section(job: tuple[str, int, str]) -> list[dict]:
    """Score one setting on one section; small sections are noisy and quick, so they get more draws."""
    import torch

    from histoquilt.models import SpatialFactorsConfig

    file, n_domains, name = job
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    adata = read(Path(os.environ["HISTOQUILT_DATA"]) / file)
    target, config = references(adata), replace(SpatialFactorsConfig(), **settings()[name])
    return [
        {"setting": name, "section": file, "draw": draw, "score": score(adata, n_domains, config, draw, target)}
        for draw in range(8 if adata.n_obs < 1000 else 2)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="*", default=[*settings()])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("defaults.csv"))
    arguments = parser.parse_args()
    jobs = [(file, n_domains, name) for file, n_domains in SECTIONS.items() for name in arguments.settings]
    with ProcessPoolExecutor(2) as pool:
        rows = [row for result in pool.map(score_section, jobs) for row in result]
    table = pd.DataFrame(rows)
    table["section"] = table["section"].map(lambda file: Path(file).stem)
    wide = table.pivot_table(index="setting", columns="section", values="score").assign(mean=lambda t: t.mean(axis=1))
    wide = wide.sort_values("mean", ascending=False)
    print(wide.round(4).to_string())
    write_table(wide, arguments.out)


def write_table(scores: pd.DataFrame, path: Path) -> None:
    """Write the scores, each row with the whole configuration it stands for."""
    from histoquilt.models import SpatialFactorsConfig

    configs = [json.dumps(replace(SpatialFactorsConfig(), **settings()[name]).to_dict()) for name in scores.index]
    scores.round(5).assign(config=configs).to_csv(path)


if __name__ == "__main__":
    main()
