"""Comparison of conditions: how often planted differences are found, and how often any without them.

    python benchmarks/conditions.py [--seeds 10] [--patients 4] [--planted-domains]

Toy studies (`datasets.toy_conditions`), one section of each patient. Domains are found jointly by `integrate_sections`;
with ``--planted-domains`` the true ones are compared. A found domain stands for the planted one with which it shares
most spots. The planted proportion counts as found if it is higher in treated patients at 5 % FDR; the share of the
planted genes that are found in their domain is printed, by their level (genes) and relative to the other domains
(specific). Without differences, everything that is found is false.
"""

import argparse
import logging
import warnings

import pandas as pd

from histoquilt.datasets import toy_conditions
from histoquilt.metrics import FDR_LEVEL, ari
from histoquilt.tl import compare_conditions, integrate_sections

GROWN, CHANGED = "layer2", "layer1"


def one_study(seed: int, n_patients: int, *, changed: bool, planted_domains: bool) -> dict[str, object]:
    """Return what is found in one study."""
    sections = toy_conditions(n_patients, changed=changed, seed=seed)
    genes = sections["p1"].var_names[sections["p1"].var["changes_in"] != ""]
    if planted_domains:
        found = compare_conditions(sections, domain_key="domain_true")
        name_of, agreement = {GROWN: GROWN, CHANGED: CHANGED}, 1.0
    else:
        joint = integrate_sections(sections, 5, mixing=False, seed=seed, device="cpu", progress=False)
        found = compare_conditions(joint)
        overlap = pd.crosstab(joint.obs["domain_true"], joint.obs["domain"])
        name_of = {name: str(overlap.loc[name].idxmax()) for name in (GROWN, CHANGED)}
        agreement = ari(joint.obs["domain_true"], joint.obs["domain"])
    proportion = found.proportions.set_index("domain").loc[name_of[GROWN]]
    markers = found.markers[found.markers["p_adjusted"] < FDR_LEVEL]
    of_domain = markers[markers["domain"] == name_of[CHANGED]]
    specific = found.markers[found.markers["p_specific_adjusted"] < FDR_LEVEL]
    own = specific[specific["domain"] == name_of[CHANGED]]["gene"].isin(genes)
    return {
        "seed": seed,
        "ari": agreement,
        "proportion": bool(proportion["p_adjusted"] < FDR_LEVEL and proportion["difference"] > 0),
        "genes": of_domain["gene"].isin(genes).sum() / max(len(genes), 1),
        "false_genes": int((~markers["gene"].isin(genes)).sum()),
        "specific": own.sum() / max(len(genes), 1),
        "false_specific": int((~specific["gene"].isin(genes)).sum()),
        **{f"n_{name}": n for name, n in found.found().items()},
        "n_specific": len(specific),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--patients", type=int, default=4, help="patients per condition")
    parser.add_argument("--planted-domains", action="store_true", help="compare the true domains")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    pd.set_option("display.width", 160, "display.max_columns", 20)
    tables = {
        changed: pd.DataFrame([
            one_study(seed, asked.patients, changed=changed, planted_domains=asked.planted_domains)
            for seed in range(asked.seeds)
        ])
        for changed in (True, False)
    }  # fmt: skip
    planted, nothing = tables[True], tables[False]
    print(planted.round(2).to_string(index=False))
    print(f"planted proportion found in {planted['proportion'].sum()} of {asked.seeds} seeds")
    for name in ("genes", "specific"):
        n_any, n_half = (planted[name] > 0).sum(), (planted[name] >= 0.5).sum()
        print(f"{name}: some planted genes found in {n_any}, half of them in {n_half} of {asked.seeds} seeds")
    kinds = [column for column in nothing if column.startswith("n_")]
    print("without differences:")
    print(nothing[["seed", "ari", *kinds]].round(2).to_string(index=False))
    for kind in kinds:
        print(f"nothing found in {kind[2:]}: {(nothing[kind] == 0).sum()} of {asked.seeds} seeds")


if __name__ == "__main__":
    main()
