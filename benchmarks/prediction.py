"""Expression from H&E: methods, baselines, oracles and ablations on sections that none of them has seen; time.

    HISTOQUILT_DATA=... python benchmarks/prediction.py [--study her2st als] [--encoder he_texture mobilenet]
        [--parts methods ablations time] [--seeds 3] [--out FOLDER]

her2st leaves out one section of a single patient (optimistic), als one group of slides. All settings are chosen by the
models inside training, all fields (once, half, twice and four times the distance of the spots) are given to every
method, and the baselines choose among inputs, neighbours' means and smoothing, too.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from histoquilt import im, io
from histoquilt.models import MclSTExp, RidgeSpaHGC, RidgeSpaHGCConfig, SpaHGC, SpaHGCConfig
from histoquilt.tl import evaluate_expression

HER2ST = ("C2", "C3", "C4", "C5")
ALS = ("CN51_C2_1", "CN51_C2_2", "CN52_C2_1", "CN52_C2_2", "CN62_E2", "CN63_C1", "CN63_E2", "L6CN51_E1_2")
PITCH_UM = 200.0
FIELDS = [PITCH_UM, PITCH_UM / 2, PITCH_UM * 2, PITCH_UM * 4]


def data(file: str) -> Path:
    return Path(os.environ["HISTOQUILT_DATA"]) / file


def encoder_name(encoder: str) -> str:
    return f"onnx:{data('../weights/mobilenet_imagenet.onnx')}" if encoder == "mobilenet" else encoder


def read(study: str) -> dict[str, ad.AnnData]:
    sections = {}
    for name in HER2ST if study == "her2st" else ALS:
        folder = "her2st" if study == "her2st" else "als_spinal_cord"
        adata = ad.read_h5ad(data(f"{folder}/{name}.h5ad"))
        image = data(f"{folder}/{name}.jpg" if study == "her2st" else f"{folder}/{adata.obs['image'].iloc[0]}")
        if study == "als":  # mice 765 and 794 share slides, and so one fold
            adata.obs["patient"], adata.obs["slide"] = adata.obs["mouse"].astype(str), adata.obs["image"].astype(str)
        io.attach_image(adata, image, mpp=io.estimate_mpp(adata, pitch_um=PITCH_UM))
        sections[name] = adata
    return sections


def embedded(study: str, encoder: str, cache: Path) -> tuple[dict[str, ad.AnnData], list[str]]:
    sections = read(study)
    for adata in sections.values():
        with io.open_image(adata) as slide:
            im.embed_patches(
                adata, slide, mpp=adata.uns["histoquilt"]["image"]["mpp"], encoder=encoder_name(encoder),
                field_um=FIELDS, key_added="X_image", cache=cache, progress=False,
            )  # fmt: skip
    return sections, [f"X_image_{field:g}um" for field in FIELDS]


METHODS = {"ridge_spahgc": RidgeSpaHGC, "spahgc": SpaHGC, "mclstexp": MclSTExp}
ABLATIONS = {
    "ridge_spahgc, all of the network": lambda: RidgeSpaHGC(RidgeSpaHGCConfig(gains=(1.0,))),
    "spahgc, references cut": lambda: SpaHGC(SpaHGCConfig(use_references=False)),
    "spahgc, masked": lambda: SpaHGC(SpaHGCConfig(regress_on="masked")),
}


def scores(study: str, encoder: str, methods: dict, seeds: int, out: Path) -> pd.DataFrame:
    sections, reps = embedded(study, encoder, out / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few panel genes are not measured in every held-out section
        found = evaluate_expression(
            sections,
            methods,
            use_rep=reps,
            leave_out="section" if study == "her2st" else "patient",
            seeds=range(seeds),
            progress=False,
        )
    head = {"study": study, "encoder": encoder}
    found.scores.assign(**head).to_csv(out / f"scores_{study}_{encoder}_{len(methods)}.csv", index=False)
    print(f"\n{study}, {encoder}: chosen {found.facts['chosen'].get('ridge_spahgc')}")
    print("seconds of all folds and seeds:", {name: round(value, 1) for name, value in found.facts["seconds"].items()})
    table = found.differences[
        ["method", "against", "gene_set", "value", "difference", "ci_low", "ci_high", "n_pairs", "n_higher"]
    ]
    print(table[table["gene_set"] == "panel"].round(3).to_string(index=False))
    return found.scores.assign(**head)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over seeds of the mean over held-out sections of the median correlation, raw and adjusted."""
    own = table[~table["section"].str.startswith("pooled")]
    keys = ["study", "encoder", "method", "kind"]
    values = ["pcc_median", "pcc_median_adjusted"]
    per_seed = own.groupby([*keys, "gene_set", "seed"], as_index=False)[values].mean()
    return per_seed.pivot_table(values, keys, "gene_set", aggfunc=["mean", "std"]).round(3)


def times(out: Path) -> None:
    sections, reps = embedded("her2st", "mobilenet", out / "cache")
    for name, make in METHODS.items():
        model = make()
        started = time.perf_counter()
        model.fit(sections, use_rep=reps)
        fitted = time.perf_counter()
        model.predict(sections["C2"])
        print(f"{name}: training on four sections {fitted - started:.1f} s, ", end="")
        print(f"predicting one {time.perf_counter() - fitted:.2f} s")
    adata = sections["C2"]
    encoder = im.get_encoder(encoder_name("mobilenet"))
    mpp = adata.uns["histoquilt"]["image"]["mpp"]
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
    parser.add_argument("--study", nargs="+", default=["her2st", "als"], choices=["her2st", "als"])
    parser.add_argument("--encoder", nargs="+", default=["he_texture", "mobilenet"])
    parser.add_argument("--parts", nargs="+", default=["methods", "ablations", "time"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("prediction"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for part, methods, seeds in (("methods", METHODS, asked.seeds), ("ablations", ABLATIONS, 1)):
        if part in asked.parts:
            found = [
                scores(study, encoder, methods, seeds, asked.out) for study in asked.study for encoder in asked.encoder
            ]
            print(summary(pd.concat(found)).to_string())
    if "time" in asked.parts:
        times(asked.out)
        large_slide()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


if __name__ == "__main__":
    main()
