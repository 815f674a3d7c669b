"""Compare rules that choose the default domain model, each judged on a tissue that had no part in the choice.

    HISTOQUILT_DATA=... python benchmarks/select_defaults.py

Candidates are spatial factors, principal components of unit length averaged h times, and both together (SharedFactors
with h averagings), on the same features and graph; and, with ``--spamask``, SpaMask's latents (150 epochs) with the
mixture and with k-means. Two label-free scores of every candidate go with them: the share of the signal of held-out
counts that its domains explain (counts are split in two halves by binomial thinning, domains are found in one and
scored in the other; 1 is all covariance of the halves), and its stability (ARI between the domains of two random
subsets of 80 % of the spots, where both have a spot).

A rule is a candidate for all sections, one for sections below 1,000 spots and another for larger ones, or the candidate
with the best label-free score. Labels are read last. For every tissue the rule with the highest mean over the *other*
tissues is taken and scored on this one; the table goes to ``defaults.csv``.
"""

import argparse
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from domains import N_DOMAINS, SECTIONS, read
from scipy.sparse import csr_matrix

TISSUES = {name: "cortex" if name.startswith("15") else "tumour" for name in SECTIONS}
TISSUES |= {"starmap": "starmap", "mob_layers": "bulb", "Rep1": "bulb", "Rep2": "bulb"}
AVERAGINGS = (0, 1, 2, 4)
SMALL = 1000  # spots
DEFAULT = "shared 0x below 1,000 spots, else shared 2x"


def embeddings(adata: ad.AnnData, use_rep: str | None, seed: int, spamask: bool = False) -> dict[str, np.ndarray]:
    """The embedding of every candidate, on one graph and, but for SpaMask's, one set of features."""
    from histoquilt.models import (
        AveragedPCs,
        AveragedPCsConfig,
        Made,
        SharedFactors,
        SharedFactorsConfig,
        SpaMask,
        SpaMaskConfig,
        SpatialFactors,
    )

    first = SpatialFactors()
    made = Made(first.graph(adata), {})
    options = {"made": made, "use_rep": use_rep, "seed": seed, "progress": False}
    found = {"spatial factors": first.fit_run(adata, **options).embedding}
    for times in AVERAGINGS:
        config = AveragedPCsConfig(n_averagings=times)
        found[f"averaged {times}x"] = AveragedPCs(config).fit_run(adata, **options).embedding
        shared = SharedFactors(SharedFactorsConfig(n_averagings=times))
        found[f"shared {times}x"] = shared.fit_run(adata, **options).embedding
    if spamask:
        model = SpaMask(replace(SpaMaskConfig(), max_epochs=150))
        found["SpaMask"] = model.fit(adata, use_rep=use_rep, seed=seed, progress=False).embed(adata)
    return found


def domains_of(found: dict[str, np.ndarray], k: int, seed: int) -> dict[str, np.ndarray]:
    from sklearn.cluster import KMeans

    from histoquilt.cluster import fit_mixture

    labels = {name: fit_mixture(one, k, n_components=10, n_starts=12, seed=seed).labels for name, one in found.items()}
    if "SpaMask" in found:
        labels["SpaMask, k-means"] = KMeans(k, n_init=10, random_state=seed).fit(found["SpaMask"]).labels_
    return labels


def log_cp10k(counts: csr_matrix) -> np.ndarray:
    dense = counts.toarray().astype(float)
    return np.log1p(1e4 * dense / np.maximum(dense.sum(axis=1, keepdims=True), 1))


def explained(half: np.ndarray, labels: np.ndarray, signal: float) -> float:
    """Share of the signal of ``(n_spots, n_genes)`` that lies between domains found without it, noise taken off."""
    values = half - half.mean(axis=0)
    sizes = np.bincount(labels)
    means = np.stack([values[labels == one].mean(axis=0) for one in np.flatnonzero(sizes)])
    sizes = sizes[sizes > 0]
    between = (sizes[:, None] * means**2).sum()
    within = ((values**2).sum() - between) / (len(labels) - len(sizes))
    return float((between - (len(sizes) - 1) * within) / len(labels) / signal)


def explained_by_all(adata: ad.AnnData, k: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    counts = csr_matrix(adata.X)
    seen, unseen = counts.copy(), counts.copy()
    seen.data = rng.binomial(counts.data.astype(int), 0.5).astype(np.float32)
    unseen.data = (counts.data - seen.data).astype(np.float32)
    half = adata.copy()
    half.X = seen
    half.X.eliminate_zeros()
    genes = np.argsort(-np.asarray(counts.sum(axis=0)).ravel())[:2000]
    one, other = log_cp10k(seen)[:, genes], log_cp10k(unseen)[:, genes]
    spread = other.std(axis=0) + 0.05  # genes of almost no variance do not decide
    one, other = (one - one.mean(axis=0)) / spread, other / spread
    signal = (one * (other - other.mean(axis=0))).sum() / len(one)
    labels = domains_of(embeddings(half, None, seed), k, seed)
    return {name: explained(other, found, signal) for name, found in labels.items()}


def stability_of_all(adata: ad.AnnData, use_rep: str | None, k: int, seed: int) -> dict[str, float]:
    from histoquilt.metrics import ari

    rng = np.random.default_rng(seed)
    runs = []
    for _ in range(2):
        kept = np.sort(rng.choice(adata.n_obs, int(0.8 * adata.n_obs), replace=False))
        part = adata[kept].copy()
        labels = domains_of(embeddings(part, use_rep, seed), k, seed)
        runs.append({name: pd.Series(one, part.obs_names) for name, one in labels.items()})
    both = runs[0]["spatial factors"].index.intersection(runs[1]["spatial factors"].index)
    return {name: ari(one[both].to_numpy(), runs[1][name][both].to_numpy()) for name, one in runs[0].items()}


def find(job: tuple[str, int, bool]) -> pd.DataFrame:
    """Domains of all candidates and seeds, and their label-free scores; no label is at hand."""
    import torch

    name, n_seeds, spamask = job
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    adata, k, use_rep = read(name), N_DOMAINS[name], SECTIONS[name][3]
    stable = stability_of_all(adata, use_rep, k, 0)
    shares = {} if use_rep else explained_by_all(adata, k, 0)
    rows = []
    for seed in range(n_seeds):
        for candidate, labels in domains_of(embeddings(adata, use_rep, seed, spamask), k, seed).items():
            facts = {"section": name, "n_spots": adata.n_obs, "candidate": candidate, "seed": seed}
            facts |= {"stability": stable.get(candidate, np.nan), "explained": shares.get(candidate, np.nan)}
            rows.append(pd.DataFrame({"obs_name": adata.obs_names, "domain": labels, **facts}))
    return pd.concat(rows)


def scored(domains: pd.DataFrame) -> pd.DataFrame:
    """Read the labels, at last: one row a section and candidate, mean over seeds."""
    from histoquilt.metrics import ari

    keys = ["section", "n_spots", "candidate", "stability", "explained"]
    rows = []
    for (*facts, seed), one in domains.groupby([*keys, "seed"], sort=False, dropna=False):
        file, label, nothing, _ = SECTIONS[facts[0]]
        truth = ad.read_h5ad(Path(os.environ["HISTOQUILT_DATA"]) / file, backed="r").obs[label].astype(object)
        truth = truth.where(~truth.isin(nothing), None)
        found = one.set_index("obs_name")["domain"].reindex(truth.index)
        rows.append([*facts, seed, ari(truth, found)])
    table = pd.DataFrame(rows, columns=[*keys, "seed", "ari"])
    return table.groupby(keys, sort=False, dropna=False)["ari"].mean().reset_index()


def by_rule(scores: pd.DataFrame) -> pd.DataFrame:
    """ARI of every rule (rows) on every section (columns)."""
    ari = scores.pivot_table("ari", "candidate", "section")[list(TISSUES)]
    small = scores.groupby("section")["n_spots"].first()[ari.columns] < SMALL
    rules = {name: ari.loc[name] for name in ari.index}
    for below, above in permutations(ari.index, 2):
        rules[f"{below} below 1,000 spots, else {above}"] = ari.loc[below].where(small, ari.loc[above])
    ours = [name for name in ari.index if not name.startswith("SpaMask")]  # others have no scores
    for score in ("stability", "explained"):
        wide = scores.pivot_table(score, "candidate", "section").reindex(index=ours, columns=ari.columns)
        chosen = wide.apply(lambda one: one.idxmax() if one.notna().any() else "shared 2x")
        rules[f"highest {score}"] = pd.Series({name: ari.loc[chosen[name], name] for name in ari.columns})
    return pd.DataFrame(rules).T


def nested(rules: pd.DataFrame) -> pd.DataFrame:
    """For every tissue, the rule that the other tissues choose and its score, beside the default's."""
    of_tissue = rules.T.groupby(TISSUES).mean().T
    rows = {}
    for tissue in of_tissue:
        others = of_tissue.drop(columns=tissue).mean(axis=1)
        best = others.idxmax()
        rows[tissue] = {
            "chosen on the other tissues": best,
            "ari here": of_tissue.loc[best, tissue],
            "default here": of_tissue.loc[DEFAULT, tissue],
            "rank of the default elsewhere": int(others.rank(ascending=False)[DEFAULT]),
            "spatial factors here": of_tissue.loc["spatial factors", tissue],
            "averaged 2x here": of_tissue.loc["averaged 2x", tissue],
        }
    return pd.DataFrame(rows).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="*", default=list(TISSUES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--spamask", action="store_true", help="also SpaMask: an hour instead of minutes")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("defaults.csv"))
    arguments = parser.parse_args()
    jobs = [(name, arguments.seeds, arguments.spamask) for name in arguments.sections]
    with ProcessPoolExecutor(2) as pool:
        scores = scored(pd.concat(pool.map(find, jobs)))
    scores.round(4).to_csv(arguments.out, index=False)
    print(scores.pivot_table("ari", "candidate", "section").round(3).to_string())
    if set(arguments.sections) == set(TISSUES):
        rules = by_rule(scores)
        means = rules.T.groupby(TISSUES).mean().T.assign(mean=lambda table: table.mean(axis=1))
        print(means.sort_values("mean", ascending=False).head(15).round(3).to_string())
        print(nested(rules).to_string())


if __name__ == "__main__":
    main()
