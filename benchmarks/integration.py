"""Several sections: joint domains, mixing, unseen sections, stitched halves, patients, and the number of domains.

    HISTOQUILT_DATA=... python benchmarks/integration.py [--parts joint unseen halves patients number] [--seeds 10]

Labels are dropped when a file is read, and read again only to score what was found. Mixing is measured per pair of
sections and always beside the agreement with labels, because smoothing everything mixes best.
"""

import argparse
import os
import resource
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

DLPFC = ("151673", "151674", "151675", "151676")
TRUE_Z, FALSE_Z = (0, 10, 310, 320), (0, 10, 20, 30)
PATIENTS = {"A1": 5, "B1": 4, "C1": 3, "D1": 3, "F1": 3}  # section: its number of labels
LABELS = ["layer_guess", "layer", "label", "cell_type"]


def data(file: str) -> Path:
    return Path(os.environ["HISTOQUILT_DATA"]) / file


def read(file: str) -> ad.AnnData:
    adata = ad.read_h5ad(data(file))
    adata.obs = adata.obs.drop(columns=LABELS, errors="ignore")
    return adata


def truth(file: str, column: str, nothing: str = "undetermined") -> pd.Series:
    labels = ad.read_h5ad(data(file), backed="r").obs[column].astype(object)
    return labels.where(labels != nothing, None)


def dlpfc(names=DLPFC, z: tuple[float, ...] | None = None) -> dict[str, ad.AnnData]:
    sections = {name: read(f"dlpfc/{name}.h5ad") for name in names}
    for adata, where in zip(sections.values(), z or (), strict=False):
        adata.obs["z_um"] = float(where)
    return sections


def of_section(joint: ad.AnnData, name: str) -> pd.Series:
    rows = (joint.obs["section"] == name).to_numpy()
    return joint.obs["domain"][rows].set_axis(joint.obs["obs_name"][rows])


def quiet() -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def joint_run(job: tuple[str, int]) -> list[dict]:
    """One seed of one way to link the four sections."""
    from histoquilt.metrics import ari
    from histoquilt.tl import integrate_sections

    quiet()
    way, seed = job
    z = {"true z": TRUE_Z, "false z": FALSE_Z}.get(way)
    links = {"no links": "none", "no z": "expression"}.get(way, "stack")
    started = time.perf_counter()
    joint = integrate_sections(dlpfc(z=z), 7, links=links, seed=seed, mixing=seed == 0, progress=False)
    seconds = time.perf_counter() - started
    found = {name: of_section(joint, name) for name in DLPFC}
    table = pd.concat(
        [series.astype(str).rename("domain").reset_index().assign(section=n) for n, series in found.items()]
    )
    table.to_csv(OUT / f"joint-{way.replace(' ', '_')}-{seed}.csv", index=False)
    rows = []
    for name in ("151673", "151674"):
        labels = truth(f"dlpfc/{name}.h5ad", "layer_guess")
        rows.append(
            {"way": way, "seed": seed, "metric": f"ARI {name}", "value": ari(labels, found[name].reindex(labels.index))}
        )
    rows.append({"way": way, "seed": seed, "metric": "seconds (1 thread)", "value": seconds})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows.append({"way": way, "seed": seed, "metric": "peak GB", "value": peak})
    if seed == 0:
        mixing = joint.uns["histoquilt"]["mixing"]
        mixing.assign(way=way).to_csv(OUT / f"mixing-{way.replace(' ', '_')}.csv", index=False)
        rows += harmony_rows(joint, way)
    return rows


def harmony_rows(joint: ad.AnnData, way: str) -> list[dict]:
    """ARI of Harmony's embedding under the same clustering, and of plain principal components."""
    from histoquilt.metrics import ari
    from histoquilt.tl import cluster_kmeans, cluster_mixture

    rows = []
    for key in ("X_before", "X_harmony"):
        for cluster in (cluster_mixture, cluster_kmeans):
            cluster(joint, 7, use_rep=key, key_added="other", seed=0)
            values = []
            for name in ("151673", "151674"):
                labels = truth(f"dlpfc/{name}.h5ad", "layer_guess")
                inside = (joint.obs["section"] == name).to_numpy()
                other = joint.obs["other"][inside].set_axis(joint.obs["obs_name"][inside])
                values.append(ari(labels, other.reindex(labels.index)))
            rows.append(
                {"way": f"{key}, {cluster.__name__}", "seed": 0, "metric": "ARI mean", "value": np.mean(values)}
            )
    return rows


def part_joint(n_seeds: int) -> None:
    jobs = [("true z", seed) for seed in range(n_seeds)]
    jobs += [(way, seed) for way in ("no z", "no links") for seed in range(max(1, n_seeds // 2))] + [("false z", 0)]
    with ProcessPoolExecutor(2) as pool:
        scores = pd.DataFrame([row for rows in pool.map(joint_run, jobs) for row in rows])
    scores.to_csv(OUT / "joint.csv", index=False)
    per_seed = scores[scores["metric"].str.startswith("ARI 1")].groupby(["way", "seed"])["value"].mean()
    print("Mean ARI of 151673 and 151674 over seeds")
    print(per_seed.groupby("way").agg(["mean", "std", "min", "max", "count"]).round(3).to_string())
    print(scores.groupby(["way", "metric"])["value"].mean().round(3).to_string())
    for way in ("true z", "no z", "no links"):
        mixing = pd.read_csv(OUT / f"mixing-{way.replace(' ', '_')}.csv")
        print(f"\nMixing, {way}")
        print(
            mixing.pivot_table(index=["metric", "sections"], columns="embedding", values="value").round(2).to_string()
        )


def part_unseen(n_seeds: int) -> None:
    """Train on two sections, assign the other two; agreement with the joint run beside that of two joint seeds.

    The agreement on the sections trained on tells what was lost on the way to the others, and what by training on two.
    """
    from histoquilt.metrics import ari
    from histoquilt.models import SpatialFactors
    from histoquilt.tl import integrate_sections, refine_domains

    quiet()
    sections = dlpfc(z=TRUE_Z)
    runs = [integrate_sections(sections, 7, seed=seed, mixing=False, progress=False) for seed in range(3)]
    print("\nUnseen sections: ARI with the joint run")
    for name in ("151675", "151676"):
        found = [of_section(run, name) for run in runs]
        among = [ari(found[a], found[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        print(f"  {name}: joint runs among themselves {np.mean(among):.3f} ({min(among):.3f}-{max(among):.3f})")
    for seed in range(3):
        model = SpatialFactors()
        pair = integrate_sections(dlpfc(DLPFC[:2], TRUE_Z[:2]), 7, model=model, seed=seed, mixing=False, progress=False)
        found = {name: of_section(pair, name) for name in DLPFC[:2]}
        for name in DLPFC[2:]:
            unseen = read(f"dlpfc/{name}.h5ad")
            model.assign_domains(unseen)
            refine_domains(unseen)
            found[name] = unseen.obs["domain"]
        for name, domains in found.items():
            values = [ari(of_section(run, name).reindex(domains.index), domains) for run in runs]
            how = "trained on" if name in DLPFC[:2] else "unseen"
            print(f"  {name} ({how}), model of seed {seed}: {np.mean(values):.3f} "
                  f"({min(values):.3f}-{max(values):.3f})", flush=True)  # fmt: skip


def part_halves(n_seeds: int) -> None:
    """A section cut in two overlapping halves, one turned and rescaled, put together again."""
    from histoquilt.metrics import ari
    from histoquilt.tl import integrate_sections, spatial_domains

    quiet()
    print("\nHalves: ARI with the uncut section")
    for name in ("151673", "151674"):
        whole = read(f"dlpfc/{name}.h5ad")
        runs = []
        for seed in range(3):
            spatial_domains(whole, 7, seed=seed, denoise=False, progress=False)
            runs.append(whole.obs["domain"].copy())
        among = [ari(runs[a], runs[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        x = whole.obsm["spatial"][:, 0]
        low, high = np.quantile(x, [0.4, 0.6])
        left, right = whole[x <= high].copy(), whole[x >= low].copy()
        turn = np.deg2rad(25)
        matrix = 1.3 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        right.obsm["spatial"] = right.obsm["spatial"] @ matrix.T + [500, -300]
        for adata in (left, right):
            adata.uns.pop("histoquilt", None)
            for key in ("X_domains",):
                adata.obsm.pop(key, None)
        values = []
        for seed in range(3):
            joint = integrate_sections(
                {"l": left, "r": right}, 7, links="stitched", seed=seed, mixing=False, progress=False
            )
            for piece in ("l", "r"):
                found = of_section(joint, piece)
                values += [ari(run.reindex(found.index), found) for run in runs]
        print(f"  {name}: uncut seeds among themselves {np.mean(among):.3f} ({min(among):.3f}-{max(among):.3f}); "
              f"stitched {np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})")  # fmt: skip


def part_patients(n_seeds: int) -> None:
    """Five patients without alignment, beside Harmony and k-means, and each section on its own."""
    from histoquilt.metrics import ari
    from histoquilt.tl import cluster_kmeans, integrate_sections, spatial_domains

    quiet()
    rows = []
    for seed in range(max(1, n_seeds // 2)):
        sections = {name: read(f"her2st/{name}.h5ad") for name in PATIENTS}
        joint = integrate_sections(sections, 6, seed=seed, mixing=True, progress=False)
        cluster_kmeans(joint, 6, use_rep="X_harmony", key_added="harmony", seed=seed)
        for name, k in PATIENTS.items():
            labels = truth(f"her2st/{name}.h5ad", "label")
            inside = (joint.obs["section"] == name).to_numpy()
            spatial_domains(sections[name], k, seed=seed, denoise=False, progress=False)
            found = {
                "integrated": of_section(joint, name),
                "Harmony + k-means": joint.obs["harmony"][inside].set_axis(joint.obs["obs_name"][inside]),
                "on its own": sections[name].obs["domain"],
            }
            rows += [
                {"section": name, "way": way, "seed": seed, "ari": ari(labels, one.reindex(labels.index))}
                for way, one in found.items()
            ]
    scores = pd.DataFrame(rows)
    print("\nPatients, 6 domains together (each section's own number alone): ARI, mean over seeds")
    print(
        scores.pivot_table(index="way", columns="section", values="ari")
        .assign(mean=lambda t: t.mean(axis=1))
        .round(3)
        .to_string()
    )
    mixing = joint.uns["histoquilt"]["mixing"]
    mixing = mixing[mixing["sections"] == "all"]
    print(mixing.pivot_table(index="metric", columns="embedding", values="value").round(2).to_string())


def part_number(n_seeds: int) -> None:
    """The number of domains chosen without labels, beside the annotation's."""
    from histoquilt.tl import spatial_domains

    quiet()
    print("\nNumber of domains chosen (annotated)")
    files = {
        "dlpfc/151673.h5ad": 7,
        "dlpfc/151674.h5ad": 7,
        "starmap/visual_cortex_BY3_1k.h5ad": 7,
        "mob_layers/rep11.h5ad": 5,
    }
    for file, annotated in files.items():
        chosen = []
        for seed in range(3):
            adata = read(file)
            spatial_domains(adata, seed=seed, denoise=False, progress=False)
            chosen.append(adata.obs["domain"].cat.categories.size)
        print(f"  {Path(file).stem}: {chosen} ({annotated})")


PARTS = {
    "joint": part_joint,
    "unseen": part_unseen,
    "halves": part_halves,
    "patients": part_patients,
    "number": part_number,
}
OUT = Path("out/benchmark-integration")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts:
        PARTS[part](arguments.seeds)


if __name__ == "__main__":
    main()
