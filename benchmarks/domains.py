"""Domains of labelled tissue: the default, its parts and SpaMask beside trivial baselines on the same features.

    HISTOQUILT_DATA=... python benchmarks/domains.py

Ten seeds of the default and of spatial factors, three of SpaMask (published settings), five of each baseline, the true
number of domains. All domains
are found, and written to ``domains.csv.gz`` beside the table, before a label is read: nothing here depends on one. The
baselines cluster 200 principal components (log1p CP10K, 3,000 variable genes; those at hand where a section has no
counts): as they are or with rows of unit length, averaged over the 12-nearest-neighbour graph 0, 2, 4 or 8 times, ten
components, by the same mixture (12 starts) or by k-means (20 starts).
"""

import argparse
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

SECTIONS = {  # name: (file, label column, labels that are none, use_rep)
    "151673": ("dlpfc/151673.h5ad", "layer_guess", [], None),
    "151674": ("dlpfc/151674.h5ad", "layer_guess", [], None),
    "151507": ("dlpfc_pca/151507.h5ad", "layer_guess", [], "X_pca"),
    "151669": ("dlpfc_pca/151669.h5ad", "layer_guess", [], "X_pca"),
    "starmap": ("starmap/visual_cortex_BY3_1k.h5ad", "layer", [], None),
    "mob_layers": ("mob_layers/rep11.h5ad", "layer", [], None),
    **{name: (f"mob_stahl/{name}.h5ad", "region", [], None) for name in ("Rep1", "Rep2")},
    **{name: (f"her2st/{name}.h5ad", "label", ["undetermined"], None) for name in ("A1", "B1", "C1", "D1", "F1")},
}
N_DOMAINS = dict(zip(SECTIONS, (7, 7, 7, 5, 7, 5, 5, 5, 5, 4, 3, 3, 3), strict=True))
AVERAGINGS = (0, 2, 4, 8)
OPTIONS = {"default": {}, "default, Potts": {"refine": "potts"}, "default, merged": {"clustering": "merge"}}


def read(name: str) -> ad.AnnData:
    """A section without its labels."""
    file, label, _, _ = SECTIONS[name]
    adata = ad.read_h5ad(Path(os.environ["HISTOQUILT_DATA"]) / file)
    adata.obs = adata.obs.drop(columns=[label, "label", "region", "layer", "cell_type"], errors="ignore")
    return adata


def baseline_embeddings(adata: ad.AnnData, use_rep: str | None) -> dict[str, np.ndarray]:
    from scipy.sparse import diags, eye

    from histoquilt.gr import knn_adjacency
    from histoquilt.pp import GeneFeatures, expression

    features = adata.obsm[use_rep] if use_rep else GeneFeatures.fit(expression(adata))[1]
    links = knn_adjacency(np.asarray(adata.obsm["spatial"], float), 12)
    links.data[:] = 1
    links = links + eye(adata.n_obs)
    averaging = diags(1 / np.asarray(links.sum(axis=1)).ravel()) @ links
    found = {}
    for rows in ("raw", "unit"):
        values = features / np.linalg.norm(features, axis=1, keepdims=True) if rows == "unit" else features
        for hop in range(max(AVERAGINGS) + 1):
            if hop in AVERAGINGS:
                found[f"{rows} PCs, averaged {hop}x"] = values
            values = averaging @ values
    return found


def find_domains(job: tuple[str, int, int, int]) -> pd.DataFrame:
    """All methods and seeds on one section; no label is at hand."""
    import torch

    from histoquilt.models import SpaMask, SpatialFactors
    from histoquilt.tl import cluster_kmeans, cluster_mixture, spatial_domains

    name, n_seeds, spamask_seeds, baseline_seeds = job
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    adata, k, use_rep = read(name), N_DOMAINS[name], SECTIONS[name][3]
    columns = {}
    for seed in range(n_seeds):
        options = {"use_rep": use_rep, "denoise": False, "seed": seed, "progress": False}
        for method, own in OPTIONS.items():
            spatial_domains(adata, k, **options, **own)
            columns[method, seed] = adata.obs["domain"].astype(str)
        spatial_domains(adata, k, model=SpatialFactors(), **options)
        columns["spatial factors", seed] = adata.obs["domain"].astype(str)
    for seed in range(spamask_seeds):
        spatial_domains(adata, k, model=SpaMask(), use_rep=use_rep, denoise=False, seed=seed, progress=False)
        columns["SpaMask", seed] = adata.obs["domain"].astype(str)
    for method, embedding in baseline_embeddings(adata, use_rep).items():
        adata.obsm["baseline"] = embedding
        for seed in range(baseline_seeds):
            cluster_mixture(adata, k, use_rep="baseline", n_components=10, n_starts=12, seed=seed)
            columns[f"{method}, EEE", seed] = adata.obs["domain"].astype(str)
            cluster_kmeans(adata, k, use_rep="baseline", n_components=10, n_starts=20, seed=seed)
            columns[f"{method}, k-means", seed] = adata.obs["domain"].astype(str)
    table = pd.DataFrame(columns).rename_axis(columns=["method", "seed"]).rename_axis("obs_name")
    return table.melt(ignore_index=False, value_name="domain").reset_index().assign(section=name)


def score(domains: pd.DataFrame) -> pd.DataFrame:
    """Read the labels, at last."""
    from histoquilt.metrics import ari, nmi

    rows = []
    for name, of_section in domains.groupby("section", sort=False):
        file, label, nothing, _ = SECTIONS[name]
        truth = ad.read_h5ad(Path(os.environ["HISTOQUILT_DATA"]) / file, backed="r").obs[label].astype(object)
        truth = truth.where(~truth.isin(nothing), None)
        for (method, seed), one in of_section.groupby(["method", "seed"], sort=False):
            found = one.set_index("obs_name")["domain"].reindex(truth.index)
            scores = {"ari": ari(truth, found), "nmi": nmi(truth, found)}
            rows.append({"section": name, "method": method, "seed": seed, **scores})
    return pd.DataFrame(rows)


def summary(scores: pd.DataFrame) -> str:
    """Per section and method; then methods by their mean over sections."""
    parts = []
    for metric in ("ari", "nmi"):
        means = scores.pivot_table(index="method", columns="section", values=metric, sort=False)
        means = means.assign(mean=lambda t: t.mean(axis=1)).sort_values("mean", ascending=False)
        parts += [f"{metric.upper()}, mean over seeds", means.round(3).to_string()]
    ours = scores[scores["method"] == "default"].groupby("section", sort=False)
    spread = ours[["ari", "nmi"]].agg(["mean", "std", "min", "max"])
    return "\n\n".join([*parts, "default over seeds", spread.round(3).to_string()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="*", default=list(SECTIONS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--spamask-seeds", type=int, default=3)
    parser.add_argument("--baseline-seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("out/benchmark-domains"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    seeds = arguments.seeds, arguments.spamask_seeds, arguments.baseline_seeds
    jobs = [(name, *seeds) for name in arguments.sections]
    with ProcessPoolExecutor(2) as pool:
        domains = pd.concat(pool.map(find_domains, jobs))
    domains.to_csv(arguments.out / "domains.csv.gz", index=False)
    scores = score(domains)
    scores.to_csv(arguments.out / "scores.csv", index=False)
    print(summary(scores))


if __name__ == "__main__":
    main()
