"""Domains with the image as a witness: none, edges, features, and the image alone.

    HISTOQUILT_DATA=... python benchmarks/image_witness.py

Toy slides of 600 spots and 6 domains in three pairs, five seeds, the true number of domains, in four kinds:

both        genes and image show all domains
image only  counts are permuted among the spots of a pair: the border inside a pair shows in the image alone
genes only  image embeddings are permuted among the spots of a pair: it shows in the genes alone
unrelated   image embeddings come from the mirrored place: the image has regions, which are not the domains

Real sections with image and regions: mouse olfactory bulb (three sections, five seeds). Domains are found before a
label is read, and nothing is chosen by one. ``--evaluate`` trains on two of the three sections and compares domains of
the expression predicted for the third with those of the image alone, by ``evaluate_expression``.
"""

import argparse
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

KINDS = ("both", "image only", "genes only", "unrelated")
ROLES = (None, "edges", "features", "only")
REAL = ("Rep1", "Rep2", "Rep11")
N_REGIONS = 5
KEY = "X_he_texture"


def toy(seed: int) -> Iterator[tuple[str, ad.AnnData]]:
    """One toy slide in all kinds."""
    from scipy.spatial import cKDTree

    import histoquilt as hq

    adata, image = hq.datasets.toy_slide(n_spots=600, n_genes=200, n_domains=6, seed=seed, mpp=2)
    hq.im.embed_patches(adata, image, mpp=2, field_um=100, progress=False)
    rng, pair = np.random.default_rng(seed), adata.obs["domain_true"].cat.codes.to_numpy() // 2
    order = np.arange(adata.n_obs)
    for number in range(3):
        order[pair == number] = rng.permutation(order[pair == number])
    centres = adata.obsm["spatial"]
    mirrored = cKDTree(centres).query(2 * centres.mean(axis=0) - centres)[1]
    for kind in KINDS:
        one = adata.copy()
        if kind == "image only":
            one.X = adata.X[order]
        elif kind != "both":
            one.obsm[KEY] = adata.obsm[KEY][order if kind == "genes only" else mirrored]
        yield kind, one


def real(name: str) -> ad.AnnData:
    """A section of olfactory bulb without its labels, with its image."""
    import histoquilt as hq

    folder = Path(os.environ["HISTOQUILT_DATA"]) / "mob_stahl"
    adata = hq.io.read_h5ad(folder / f"{name}.h5ad")
    adata.obs = adata.obs.drop(columns=["region", "layer"], errors="ignore")
    hq.io.attach_image(adata, folder / f"{name}.jpg")
    return adata


def domains(adata: ad.AnnData, k: int, role: str | None, seed: int) -> np.ndarray:
    import histoquilt as hq

    hq.tl.spatial_domains(adata, k, image=role, denoise=False, seed=seed, progress=False)
    return adata.obs["domain"].to_numpy()


def toy_scores(n_seeds: int) -> Iterator[dict[str, object]]:
    from histoquilt.metrics import ari

    for seed in range(n_seeds):
        for kind, adata in toy(seed):
            for role in ROLES:
                score = ari(adata.obs["domain_true"], domains(adata, 6, role, seed))
                yield {"tissue": f"toy, {kind}", "image": role or "none", "seed": seed, "ari": score}


def real_scores(n_seeds: int) -> Iterator[dict[str, object]]:
    from histoquilt.metrics import ari

    for name in REAL:
        adata = real(name)
        found = {(role, seed): domains(adata, N_REGIONS, role, seed) for role in ROLES for seed in range(n_seeds)}
        truth = ad.read_h5ad(Path(os.environ["HISTOQUILT_DATA"]) / "mob_stahl" / f"{name}.h5ad").obs["region"]
        truth = truth.reindex(adata.obs_names)
        for (role, seed), labels in found.items():
            yield {"tissue": name, "image": role or "none", "seed": seed, "ari": ari(truth, labels)}


def evaluated() -> pd.DataFrame:
    """Domains of predicted expression, of the image alone and of measured expression, each section left out once."""
    import histoquilt as hq

    sections = {name: real(name) for name in REAL}
    for name, adata in sections.items():
        record = adata.uns["histoquilt"]["image"]
        with hq.io.open_image(adata) as slide:
            hq.im.embed_patches(
                adata, slide, mpp=record["mpp"], field_um=hq.im.default_fields(200.0), progress=False,
                image_scale=record["image_scale"],
            )  # fmt: skip
        labels = ad.read_h5ad(Path(os.environ["HISTOQUILT_DATA"]) / "mob_stahl" / f"{name}.h5ad").obs["region"]
        adata.obs["region"] = labels.reindex(adata.obs_names)
    found = hq.tl.evaluate_expression(sections, leave_out="section", label_key="region", n_genes=200, progress=False)
    return found.domains


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=["toy", "real"])
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark-image-witness"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    if arguments.evaluate:
        table = evaluated()
        table.to_csv(arguments.out / "evaluated.csv", index=False)
        print(table.pivot_table(index=["kind", "method"], columns="section", values="ari").round(3).to_string())
        return
    for part, scores in {"toy": toy_scores, "real": real_scores}.items():
        if arguments.only in (None, part):
            rows = []
            for row in scores(arguments.seeds):
                rows.append(row)
                pd.DataFrame(rows).to_csv(arguments.out / f"{part}.csv", index=False)
            table = pd.DataFrame(rows).pivot_table(
                index="tissue", columns="image", values="ari", aggfunc=["mean", "std"], sort=False
            )
            print(table.round(3).to_string())


if __name__ == "__main__":
    main()
