"""Does an uncertainty of domains tell where they are wrong? AUROC and reliability on labelled sections.

    HISTOQUILT_DATA=... python benchmarks/uncertainty.py

On every section of ``domains.py``, the default's domains with the true number of domains; then, for every spot,
``domain_confidence``, the (negative) entropy of its mixture, the share of its direct neighbours with its domain (a
trivial baseline), and ``domain_stability`` by each source of resampling and by all together. All are computed before a
label is read. A spot is right if its domain, matched one to one to the labels, has its label. ``uncertainty.csv`` has
the AUROC of right against wrong spots and the CPU seconds, ``reliability.csv`` the share of right spots by tenths of
each score.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from domains import N_DOMAINS, SECTIONS, read

SOURCES = ("spots", "seeds", "counts")


def scores(name: str, seed: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return domains and scores of the spots, and the CPU seconds of each; no label is at hand."""
    from histoquilt.models import SharedFactors
    from histoquilt.tl import domain_stability, spatial_domains

    adata, k, use_rep = read(name), N_DOMAINS[name], SECTIONS[name][3]
    model, seconds, started = SharedFactors(), {}, time.process_time()
    spatial_domains(adata, k, model=model, use_rep=use_rep, denoise=False, seed=seed, progress=False)
    seconds["domains"] = time.process_time() - started
    codes = adata.obs["domain"].cat.codes.to_numpy()
    posterior = model.domains.mixture.probabilities(adata.obsm["X_domains"])
    adjacency = adata.obsp["spatial_connectivities"]
    table = pd.DataFrame({"domain": adata.obs["domain"].astype(str), "confidence": adata.obs["domain_confidence"]})
    table["entropy"] = (posterior * np.log(np.maximum(posterior, 1e-300))).sum(axis=1)
    alike = adjacency @ np.eye(k)[codes]
    table["same neighbours"] = alike[np.arange(len(codes)), codes] / np.maximum(alike.sum(axis=1), 1)
    used = SOURCES if use_rep is None else SOURCES[:2]
    for source in used:
        started = time.process_time()
        domain_stability(adata, sources=[source], seed=seed)
        seconds[f"stability, {source}"] = time.process_time() - started
        table[f"stability, {source}"] = adata.obs["domain_stability"]
    # what domain_stability writes with several sources
    for label, some in (("spots and seeds", SOURCES[:2]), ("all", used)):
        table[f"stability, {label}"] = table[[f"stability, {source}" for source in some]].mean(axis=1)
        seconds[f"stability, {label}"] = sum(seconds[f"stability, {source}"] for source in some)
    return table, seconds


def is_right(name: str, domains: pd.Series) -> pd.Series:
    """Read the labels, at last: whether the domain of each labelled spot is the one matched to its label."""
    from histoquilt.tl import align_labels

    file, label, nothing, _ = SECTIONS[name]
    truth = ad.read_h5ad(Path(os.environ["HISTOQUILT_DATA"]) / file, backed="r").obs[label].astype(object)
    truth = truth[~truth.isin(nothing) & truth.notna()].astype("category")
    matched = align_labels(domains.reindex(truth.index), truth)
    return pd.Series(matched == truth.cat.codes.to_numpy(), index=truth.index)


def judge(name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the AUROC of every score of a section, and right spots by tenths of the scores that are probabilities."""
    from sklearn.metrics import roc_auc_score

    table, seconds = scores(name, seed)
    right = is_right(name, table["domain"])
    of_section = {"section": name, "seed": seed}
    aurocs, tenths = [], []
    for score in table.columns[1:]:
        values = table[score].reindex(right.index)
        auroc = roc_auc_score(right, values)
        aurocs.append({**of_section, "score": score, "auroc": auroc, "right": right.mean(), "s": seconds.get(score)})
        if score != "entropy":
            tenth = np.minimum((values * 10).astype(int), 9)
            by = pd.DataFrame({"tenth": tenth, "mean": values, "right": right}).groupby("tenth")
            rows = by.agg(n=("right", "size"), mean=("mean", "mean"), right=("right", "mean")).reset_index()
            tenths.append(rows.assign(**of_section, score=score))
    aurocs.append({**of_section, "score": "domains", "s": seconds["domains"]})
    return pd.DataFrame(aurocs), pd.concat(tenths)


def summary(aurocs: pd.DataFrame, tenths: pd.DataFrame) -> str:
    """Return the AUROC by section, seconds, and pooled reliability with the expected calibration error."""
    by = aurocs.dropna(subset="auroc").pivot_table(index="score", columns="section", values="auroc", sort=False)
    beats = (by.gt(by.loc["confidence"]).sum(axis=1)).rename("above confidence")
    by = by.assign(mean=by.mean(axis=1), **{"above confidence": beats})
    seconds = aurocs.pivot_table(index="score", columns="section", values="s", sort=False)
    parts = [by.round(3).to_string(), seconds.round(2).to_string()]
    # every section counts the same
    tenths = tenths.assign(weight=tenths["n"] / tenths.groupby(["section", "seed", "score"])["n"].transform("sum"))
    pooled = tenths.assign(mean=tenths["mean"] * tenths["weight"], right=tenths["right"] * tenths["weight"])
    pooled = pooled.groupby(["score", "tenth"], sort=False)[["mean", "right", "weight"]].sum().reset_index()
    pooled[["mean", "right"]] = pooled[["mean", "right"]].div(pooled["weight"], axis=0)
    pooled["weight"] /= pooled.groupby("score")["weight"].transform("sum")
    parts.append(pooled.sort_values(["score", "tenth"]).round(3).to_string(index=False))
    error = (pooled["weight"] * (pooled["mean"] - pooled["right"]).abs()).groupby(pooled["score"]).sum()
    parts.append(error.rename("expected calibration error").round(3).to_string())
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="*", default=list(SECTIONS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out/benchmark-uncertainty"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    found = [judge(name, seed) for seed in range(arguments.seeds) for name in arguments.sections]
    aurocs, tenths = (pd.concat(tables) for tables in zip(*found, strict=True))
    aurocs.to_csv(arguments.out / "uncertainty.csv", index=False)
    tenths.to_csv(arguments.out / "reliability.csv", index=False)
    print(summary(aurocs, tenths))


if __name__ == "__main__":
    main()
