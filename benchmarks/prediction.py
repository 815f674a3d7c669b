"""Expression from H&E: members, stack, baselines, oracles and ablations on sections that none of them has seen; time.

    HISTOQUILT_DATA=... python benchmarks/prediction.py [--study her2st als mob mob_stahl her2st_a2]
        [--encoder he_texture mobilenet both] [--parts methods networks published pixels time] [--seeds 3]
        [--px 32] [--out FOLDER]

=========== ============================================ ==========================================================
her2st      one section of patient C left out            optimistic: all of one patient
als         one group of slides left out, mice           765 + 794 | 652
mob         MOB1 | MOB2, both ways                       optimistic: one individual; training needs two sections, so
                                                         the one to train on is cut in two halves
mob_stahl   Rep1, Rep2 (individual A) | Rep11 (E)        the reverse has one training section and is not run
her2st_a2   C2-C5 (patient C) | A2 (patient A)           all at 3.2 um per pixel; the reverse likewise
=========== ============================================ ==========================================================

Parts: ``methods`` are stack, members, baselines, oracles and ablations; ``networks`` are SpaHGC and mclSTExp with our
settings; ``published`` the same with the settings of the papers on frozen embeddings of one field, and ``pixels``
mclSTExp with those settings and an image branch trained on patches of ``--px`` pixels, from random weights; these two
train on C2-C4 of her2st and predict C5, whatever the study.

All settings are chosen by the models inside training, and all fields (once, half, twice and four times the distance of
the spots) are given to every method. Embedded sections are kept in FOLDER/embedded. Tables go to FOLDER, one set for
each study, encoder and part; rows per section of all of them to FOLDER/prediction.csv.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import anndata as ad
import numpy as np
import pandas as pd
from PIL import Image

from histoquilt import im, io
from histoquilt.metrics import paired_difference
from histoquilt.models import (
    CountRegression,
    ExpressionModel,
    MclSTExp,
    MclSTExpConfig,
    NearestNeighbours,
    ReducedRankRidge,
    SpaHGC,
    SpaHGCConfig,
    Stack,
    StackConfig,
)
from histoquilt.models.stack._weights import Weights
from histoquilt.tl import evaluate_expression
from histoquilt.train import Split

SECTIONS = {
    "her2st": ("C2", "C3", "C4", "C5"),
    "als": ("CN51_C2_1", "CN51_C2_2", "CN52_C2_1", "CN52_C2_2", "CN62_E2", "CN63_C1", "CN63_E2", "L6CN51_E1_2"),
    "mob": ("MOB1", "MOB2"),
    "mob_stahl": ("Rep1", "Rep2", "Rep11"),
    "her2st_a2": ("C2", "C3", "C4", "C5", "A2"),
}
SPLITS = {
    "mob": [
        Split(f"{test}", [f"{train} left", f"{train} right"], [test], optimistic=True)
        for train, test in (("MOB1", "MOB2"), ("MOB2", "MOB1"))
    ],
    "mob_stahl": [Split("E", ["Rep1", "Rep2"], ["Rep11"], optimistic=False)],
    "her2st_a2": [Split("A", ["C2", "C3", "C4", "C5"], ["A2"], optimistic=False)],
}
PUBLISHED_SPLIT = [Split("C5", ["C2", "C3", "C4"], ["C5"], optimistic=True)]
PITCH_UM, COARSE_MPP = 200.0, 3.2
PATCH_UM = 155.0  # 224 px of her2st's images, as the papers cut them
FIELDS = [PITCH_UM, PITCH_UM / 2, PITCH_UM * 2, PITCH_UM * 4]
KEYS = {"he_texture": ["X_he"], "mobilenet": ["X_mob"], "both": ["X_he", "X_mob"]}
SCORES = ["pcc_median", "pcc_median_adjusted", "deviance_median", "deviance_above_0"]
ROWS = ["study", "encoder", "fold", "section", "method", "kind", "seed", "gene_set", "n_genes", *SCORES]


def data(file: str) -> Path:
    return Path(os.environ["HISTOQUILT_DATA"]) / file


def read(study: str, name: str) -> tuple[ad.AnnData, Path, float]:
    """Return a section, its image, and the microns per pixel of both."""
    folder = {"als": "als_spinal_cord", "her2st_a2": "her2st_a2" if name == "A2" else "her2st"}.get(study, study)
    adata = ad.read_h5ad(data(f"{folder}/{name}.h5ad"))
    if study == "als":  # mice 765 and 794 share slides, and so one fold
        adata.obs["patient"], adata.obs["slide"] = adata.obs["mouse"].astype(str), adata.obs["image"].astype(str)
    if study == "mob_stahl":
        adata.obs["patient"] = adata.obs["individual"].astype(str)
    image = {"als": str(adata.obs["image"].iloc[0]) if study == "als" else "", "her2st_a2": "A2.png"}
    file = image[study] if study == "als" or name == "A2" else f"{name}.jpg"
    mpp = COARSE_MPP if name == "A2" else 2.76 if study == "mob_stahl" else io.estimate_mpp(adata, pitch_um=PITCH_UM)
    return adata, data(f"{folder}/{file}"), mpp


def embed(study: str, name: str) -> ad.AnnData:
    adata, file, mpp = read(study, name)
    Image.MAX_IMAGE_PIXELS = None
    picture = Image.open(file).convert("RGB")
    if study == "her2st_a2" and mpp != COARSE_MPP:  # as coarse as A2, or the scanner alone separates the patients
        factor = mpp / COARSE_MPP
        picture = picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.LANCZOS)
        adata.obsm["spatial"], mpp = np.asarray(adata.obsm["spatial"]) * factor, COARSE_MPP
    for key, encoder in (("X_he", "he_texture"), ("X_mob", f"onnx:{data('../weights/mobilenet_imagenet.onnx')}")):
        im.embed_patches(
            adata, np.asarray(picture), mpp=mpp, encoder=encoder, field_um=FIELDS, key_added=key, progress=False
        )
    return adata


def cut(px: int) -> dict[str, ad.AnnData]:
    """Return the sections of her2st with the pixels around each spot."""
    sections = {}
    for name in SECTIONS["her2st"]:
        adata, file, mpp = read("her2st", name)
        im.cut_patches(adata, np.asarray(Image.open(file).convert("RGB")), mpp=mpp, field_um=PATCH_UM, px=px)
        sections[name] = adata
    return sections


def embedded(study: str, out: Path) -> dict[str, ad.AnnData]:
    sections = {}
    for name in SECTIONS[study]:
        file = out / "embedded" / study / f"{name}.h5ad"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            embed(study, name).write_h5ad(file)
        sections[name] = ad.read_h5ad(file)
        if study == "her2st_a2":
            sections[name].obs["patient"] = name[0]
        if study == "mob":
            x = sections[name].obsm["spatial"][:, 0]
            sections[f"{name} left"] = sections[name][x < np.median(x)].copy()
            sections[f"{name} right"] = sections[name][x >= np.median(x)].copy()
    return sections


def stack(*members: str, own_moments: bool | str = "auto") -> Callable[[], Stack]:
    config = {"members": members} if members else {}
    return lambda: Stack(StackConfig(own_moments=own_moments, **config))


def weighed(rule: Callable[[np.ndarray], np.ndarray]) -> type[Stack]:
    """Return the stack with weights that follow from the members' inner scores."""

    def choose(sections: Sequence, folds: Sequence) -> Weights:
        n = len(sections[0].with_truth)
        alone = np.array([[one.score(weights) for one in sections] for weights in np.eye(n)]).mean(axis=1)
        weights = rule(alone)
        return Weights(weights, True, float(np.mean([one.score(weights) for one in sections])), alone)

    class Weighed(Stack):
        def fit_arrays(self, *arguments):
            with patch("histoquilt.models.stack._stack.choose_weights", choose):
                return super().fit_arrays(*arguments)

    return Weighed


def remember(model: type[ExpressionModel]) -> None:
    """Fit a member once for all stacks that have it; seconds of an evaluation are those of the first."""
    fit, kept = model.fit_arrays, {}

    def fit_arrays(self, train, folds, *arguments):
        key = self.config, tuple((one.name, one.own_moments, hash(one.x.tobytes())) for one in train)
        if key not in kept:
            kept[key] = fit(self, train, folds, *arguments)
        return kept[key]

    model.fit_arrays = fit_arrays


METHODS = {"stack": Stack, "count_regression": CountRegression}
NETWORKS = {"spahgc": SpaHGC, "mclstexp": MclSTExp}
PUBLISHED = {
    "spahgc, published": lambda: SpaHGC(SpaHGCConfig.published()),
    "mclstexp, published, frozen": lambda: MclSTExp(MclSTExpConfig.published("embedding")),
}
PIXELS = {
    "mclstexp, published, cnn": lambda: MclSTExp(MclSTExpConfig.published("cnn")),
    "mclstexp, published, DenseNet121": lambda: MclSTExp(MclSTExpConfig.published(pretrained=False)),
}
ABLATIONS = {
    "2: without the count model": stack("reduced_rank_ridge", "knn"),
    "3: moments chosen inside": stack(own_moments=False),
    "4: cosine for the learned metric": stack("reduced_rank_ridge", "count_regression", "knn_cosine"),
    "6: best member for the stack": weighed(lambda alone: np.eye(len(alone))[alone.argmax()]),
    "6: equal weights": weighed(lambda alone: np.full(len(alone), 1 / len(alone))),
}
PARTS = {"methods": METHODS | ABLATIONS, "networks": NETWORKS, "published": PUBLISHED, "pixels": PIXELS}
FEW = ("ridge_plain", "ridge")  # baselines of all parts but the first, which has the rows of the others


def evaluate(study: str, encoder: str, part: str, seeds: int, out: Path, px: int = 32) -> None:
    sections = cut(px) if part == "pixels" else embedded(study, out)
    reps = [f"{key}_{field:g}um" for key in KEYS[encoder] for field in FIELDS] if part != "pixels" else ["patches"]
    splits = PUBLISHED_SPLIT if part in ("published", "pixels") else SPLITS.get(study)
    few = nullcontext() if part == "methods" else patch("histoquilt.evaluate._methods._BASELINES", FEW)
    with warnings.catch_warnings(), few:
        warnings.simplefilter("ignore")  # a few panel genes are not measured in every held-out section
        found = evaluate_expression(
            sections, PARTS[part], use_rep=reps, leave_out="section" if study == "her2st" else "patient",
            splits=splits, seeds=range(seeds), progress=False,
        )  # fmt: skip
    head = {"study": study, "encoder": f"pixels, {px} px" if part == "pixels" else encoder}
    rows = found.scores[found.scores["fold"] != "all"].assign(**head)
    rows.loc[rows["method"].isin(ABLATIONS), "kind"] = "ablation"
    if part != "methods":
        rows = rows[rows["kind"] == "method"]
    rows[ROWS].to_csv(out / f"rows_{study}_{encoder}_{part}.csv", index=False, float_format="%.4f")
    inner = [
        {**head, "method": method, "fold": fold, "inner": inner_score(chosen), "weights": chosen.get("weights", ""),
         "members": chosen.get("inner_scores", "")}
        for method, of_fold in found.facts["chosen"].items() for fold, chosen in of_fold.items()
    ]  # fmt: skip
    pd.DataFrame(inner).to_csv(out / f"inner_{study}_{encoder}_{part}.csv", index=False, float_format="%.4f")
    told = {name: one.uns["histoquilt"]["prediction"] for name, one in found.predictions.items()}
    print(f"\n{study}, {encoder}, {part}:", {name: (round(float(one["transfer_share"]), 3), bool(one["transfers"]),
          one.get("caution", "")) for name, one in told.items()})  # fmt: skip
    print("seconds of all folds and seeds:", {name: round(value, 1) for name, value in found.facts["seconds"].items()})


def inner_score(chosen: dict) -> float:
    """Return the inner score of a method, at equal depth where it has one."""
    if "inner_scores" in chosen:
        return chosen["inner_scores"]["stack"]
    return chosen.get("inner_adjusted_pcc", np.nan)


def summary(out: Path) -> None:
    """Join the rows of all parts, and print means over held-out sections, differences and inner scores."""
    rows = pd.concat(pd.read_csv(file) for file in sorted(out.glob("rows_*.csv")))
    sets = ["panel", "top50_mean", "top50_variable"]
    rows[rows["gene_set"].isin(sets)].to_csv(out / "prediction.csv", index=False)
    keys = ["study", "encoder", "kind", "method"]
    means = (
        rows.groupby([*keys, "gene_set", "seed"], as_index=False)[SCORES].mean().pivot_table(SCORES, keys, "gene_set")
    )
    shown = [(score, genes) for score in SCORES for genes in sets]
    print(means[shown].round(3).to_string())
    parts = []
    known = {*METHODS, *ABLATIONS, *NETWORKS, *rows.loc[rows["kind"] == "baseline", "method"]}
    for names, part in rows[(rows["gene_set"] == "panel") & rows["method"].isin(known)].groupby(["study", "encoder"]):
        others = sorted(set(part["method"]) - {"stack"})
        parts += [
            paired_difference(part, "stack", other, value=value).assign(study=names[0], encoder=names[1])
            for other in others for value in SCORES[:2]
        ]  # fmt: skip
    table = pd.concat(parts)[["study", "encoder", "against", "value", "difference", "ci_low", "ci_high", "n",
                              "n_pairs", "n_higher"]]  # fmt: skip
    table.to_csv(out / "differences.csv", index=False, float_format="%.4f")
    print(table.round(3).to_string(index=False))
    inner = pd.concat(pd.read_csv(file) for file in sorted(out.glob("inner_*_methods.csv")))
    print(inner.pivot_table("inner", ["study", "encoder"], "method").round(4).to_string())


def times(out: Path) -> None:
    sections = embedded("her2st", out)
    reps = [f"X_mob_{field:g}um" for field in FIELDS]
    for name, make in {"reduced_rank_ridge": ReducedRankRidge, **METHODS, **NETWORKS}.items():
        model = make()
        started = time.perf_counter()
        model.fit(sections, use_rep=reps)
        fitted = time.perf_counter()
        model.predict(sections["C2"])
        print(f"{name}: training on four sections {fitted - started:.1f} s, ", end="")
        print(f"predicting one {time.perf_counter() - fitted:.2f} s")
    adata, image, mpp = read("her2st", "C2")
    io.attach_image(adata, image, mpp=mpp)
    encoder = im.get_encoder(f"onnx:{data('../weights/mobilenet_imagenet.onnx')}")
    with io.open_image(adata) as slide:
        patches = im.extract_patches(slide, adata.obsm["spatial"], mpp=mpp, field_um=PITCH_UM, out_px=encoder.input_px)
        patches = patches[0] if isinstance(patches, tuple) else patches
        ratios = []
        for _ in range(3):
            started = time.perf_counter()
            for start in range(0, len(patches), 64):
                encoder.embed(patches[start : start + 64])
            forward = time.perf_counter() - started
            started = time.perf_counter()
            im.embed_patches(adata, slide, mpp=mpp, encoder=encoder, field_um=PITCH_UM, key_added="X", progress=False)
            ratios.append((time.perf_counter() - started) / forward)
    print(f"patches and embedding of C2: {np.round(ratios, 2)} of the encoder's own time ({forward:.2f} s)")
    texture = im.get_encoder("he_texture")
    small = np.repeat(patches[:64, ::2, ::2], 2, axis=0)[:, : texture.input_px, : texture.input_px]
    started = time.perf_counter()
    texture.embed(small)
    print(f"he_texture: {1000 * (time.perf_counter() - started) / len(small):.2f} ms a patch")


SLIDE = """
import sys, time, numpy as np, tifffile
path, side, tile = sys.argv[1], 40_000, 512
if sys.argv[2] == "make":
    rng = np.random.default_rng(0)
    kinds = np.clip(np.array([235, 200, 220]) + rng.normal(0, 25, (8, tile, tile, 3)), 0, 255).astype(np.uint8)
    glass = np.full((tile, tile, 3), 245, np.uint8)
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for level in range(5):
            n = side >> level
            across = -(-n // tile)
            def tiles():
                for row in range(across):
                    for column in range(across):
                        inside = max(abs(row / across - 0.5), abs(column / across - 0.5)) < 0.3
                        yield kinds[(row + column) % 8] if inside else glass
            tif.write(tiles(), shape=(n, n, 3), dtype=np.uint8, tile=(tile, tile), photometric="rgb",
                      compression="jpeg", subifds=4 if level == 0 else None, subfiletype=0 if level == 0 else 1)
else:
    from histoquilt import im, io
    started = time.perf_counter()
    with io.open_slide(path, mpp=0.25) as slide:
        opened = time.perf_counter() - started
        grid = im.grid_spots(slide, mpp=0.25, pitch_um=100.0)
    seconds = time.perf_counter() - started
    with open("/proc/self/status") as status:  # ru_maxrss counts the parent process, too
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20
    print(f"40,000 x 40,000 px: opened in {opened:.2f} s, {grid.n_obs} spots in {seconds:.1f} s, {peak:.2f} GB")
"""


def large_slide() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for step in ("make", "read"):
            subprocess.run([sys.executable, "-c", SLIDE, str(Path(folder) / "slide.tif"), step], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", nargs="+", default=list(SECTIONS), choices=list(SECTIONS))
    parser.add_argument("--encoder", nargs="+", default=list(KEYS), choices=list(KEYS))
    parser.add_argument("--parts", nargs="+", default=[*PARTS, "time"], choices=[*PARTS, "time"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--px", type=int, default=32, help="side of the patches of the part pixels")
    parser.add_argument("--out", type=Path, default=Path("prediction"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for model in (ReducedRankRidge, CountRegression, NearestNeighbours):
        remember(model)
    for part in (part for part in asked.parts if part in PARTS):
        for study in asked.study:
            for encoder in asked.encoder:
                evaluate(study, encoder, part, asked.seeds, asked.out, asked.px)
    summary(asked.out)
    if "time" in asked.parts:
        times(asked.out)
        large_slide()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


if __name__ == "__main__":
    main()
