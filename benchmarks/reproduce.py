"""The tables of three papers, under their protocol and under ours, on a study's folder.

    python benchmarks/reproduce.py spamask  FOLDER --out out/reproduce
    python benchmarks/reproduce.py mclstexp FOLDER --out out/reproduce
    python benchmarks/reproduce.py spahgc   FOLDER --out out/reproduce [--encoder timm:...]

FOLDER is a study as its authors publish it (docs/studies.md), or a ``samples.csv``. Sections that the paper has and the
folder lacks are named, and the table is called partial. Every section (spamask) or held-out section and protocol
(mclstexp, spahgc) is a file of its own; what is there is not computed again, so the run can be stopped and repeated.

``spamask``: domains with the annotated number of domains, which their protocol allows and a user does not have.
SpaMask with its published settings, our default, and trivial baselines on the same features; ARI per section and seed.
As in the paper's table, all sections are also trained jointly (SpaMask and our default, linked as a stack where the
table has ``z_um``, else by expression); sections without labels take part, and are not scored. The paper reports one
seed, so the best one stands beside the mean, marked.

``mclstexp``, ``spahgc``: the published settings on frozen embeddings of one field, our stack, baselines and oracles.
Their protocol leaves one section out, other sections of its patient train, and the score is computed as in the
released code (flawed: it still holds sequencing depth, so the oracle of depth is among the rows). Ours leaves the
patient out where there are several, and scores log1p of counts per 10,000, as it is and at equal depth.

Published numbers are quoted with their source, and were not computed here. Results: ``<paper>.csv``,
``<paper>_summary.csv`` and ``<paper>.html``.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

import histoquilt as hq
from histoquilt.datasets import studies
from histoquilt.datasets.studies._dlpfc import SECTIONS as DLPFC_SECTIONS
from histoquilt.datasets.studies._her2st import PUBLISHED as HER2ST_PUBLISHED
from histoquilt.train import Split, leave_one_out

FIELD_UM = 150.0  # of the patch around a spot
ALL_SECTIONS = {  # name of the study, its sections in the paper
    "spamask": ("DLPFC", sorted(DLPFC_SECTIONS)),
    "mclstexp": ("HER2+", sorted(HER2ST_PUBLISHED)),
    "spahgc": ("HER2+", [f"{letter}{i}" for letter in "ABCDEFGH" for i in range(1, 7 if letter < "E" else 4)]),
}
QUOTED = {  # row, what it is of, value, source
    "spamask": [
        ("SpaMask, four sections trained jointly", name, value, "Min et al. 2025, one seed, k = 7 given")
        for name, value in (("151673", 0.586), ("151674", 0.698), ("151675", 0.655), ("151676", 0.579))
    ],
    "mclstexp": [
        (name, "32 sections of HER2+, all genes / top 50", value, "later papers' tables, leave one section out, flawed")
        for name, value in (("ST-Net", ".056 / .013"), ("HisToGene", ".084 / .071"), ("Hist2ST", ".144 / .185"),
                            ("THItoGene", ".173 / .281"), ("BLEEP", ".187 / .291"), ("mclSTExp", ".230 / .387"))
    ],
    "spahgc": [("SpaHGC", "36 sections of HER2+", ".279", "arXiv 2603.22821, leave one section out, flawed, UNI")],
}  # fmt: skip


def read_study(place: Path, out: Path) -> dict[str, AnnData]:
    """Read the sections of a study's folder, or of a ``samples.csv``."""
    table = place
    if place.is_dir():
        found = studies.describe(place)
        print(f"{found.layout}: {len(found.rows)} sections", *found.missing, *found.notes, sep="\n  ")
        table = studies.write_samples(found, out / "samples.csv")
    return dict(hq.io.read_samples(table).sections)


def kept(file: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return a table that was computed before, else compute and keep it, with the seconds that it took."""
    if not file.exists():
        started = time.perf_counter()
        table = make().assign(wall_s=lambda t: time.perf_counter() - started)
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".unfinished")
        table.to_csv(beside, index=False)
        beside.rename(file)
    return pd.read_csv(file, dtype={"section": str})


# --- SpaMask --------------------------------------------------------------------------------------------------------


def domains_of(adata: AnnData, label_key: str, seeds: range) -> pd.DataFrame:
    """Return the ARI of every method and seed on a section; labels are read when all domains are found."""
    from domains import baseline_embeddings

    truth = adata.obs[label_key].astype(object)
    k, section = truth.dropna().nunique(), adata.copy()
    section.obs = section.obs.drop(columns=[label_key])
    found: dict[tuple[str, int], pd.Series] = {}
    options: dict[str, Any] = {"denoise": False, "progress": False}
    for seed in seeds:
        for method, model in (("SpaMask, published", hq.models.SpaMask), ("default", hq.models.SharedFactors)):
            hq.tl.spatial_domains(section, k, model=model(), seed=seed, **options)
            found[method, seed] = section.obs["domain"].astype(str)
        for method, embedding in baseline_embeddings(section, None).items():
            if method in ("raw PCs, averaged 0x", "unit PCs, averaged 2x"):
                section.obsm["baseline"] = embedding
                hq.tl.cluster_mixture(section, k, use_rep="baseline", n_components=10, n_starts=12, seed=seed)
                found[f"{method}, mixture", seed] = section.obs["domain"].astype(str)
    scores = [
        {"method": method, "kind": "method" if method in ("SpaMask, published", "default") else "baseline",
         "seed": seed, "score": hq.metrics.ari(truth, domains)}
        for (method, seed), domains in found.items()
    ]  # fmt: skip
    return pd.DataFrame(scores).assign(protocol="k given, each section alone", score_of="ARI")


def joint_domains(sections: dict[str, AnnData], truth: dict[str, pd.Series], seeds: range) -> pd.DataFrame:
    """Return the ARI of every labelled section after one run on all sections; labels are read when it is done."""
    k = max(labels.dropna().nunique() for labels in truth.values())
    scores = []
    for seed in seeds:
        for method, model in (("SpaMask, published", hq.models.SpaMask), ("default", hq.models.SharedFactors)):
            joint = hq.tl.integrate_sections(sections, k, model=model(), seed=seed, mixing=False, progress=False)
            for name, labels in truth.items():
                domains = joint.obs.loc[joint.obs["section"] == name, "domain"].astype(str)
                score = hq.metrics.ari(labels.to_numpy(), domains.to_numpy())
                scores.append({"method": method, "kind": "method", "seed": seed, "section": name, "score": score})
    return pd.DataFrame(scores).assign(protocol="k given, sections trained jointly", score_of="ARI")


def run_spamask(sections: dict[str, AnnData], out: Path, seeds: range, label_key: str) -> Iterator[pd.DataFrame]:
    truth = {name: s.obs[label_key].astype(object) for name, s in sections.items() if label_key in s.obs}
    for name in truth:
        make = partial(domains_of, sections[name], label_key, seeds)
        yield kept(out / "spamask" / f"{name}.csv", make).assign(section=name)
    if unlabelled := [name for name in sections if name not in truth]:
        print(f"Without obs[{label_key!r}], so without a score: {', '.join(unlabelled)}")
    if len(sections) > 1:
        bare = {name: adata.copy() for name, adata in sections.items()}
        for adata in bare.values():
            adata.obs = adata.obs.drop(columns=[label_key], errors="ignore")
        yield kept(out / "spamask" / "joint.csv", partial(joint_domains, bare, truth, seeds))


# --- mclSTExp, SpaHGC -------------------------------------------------------------------------------------------------


def expression_of(
    sections: dict[str, AnnData], paper: str, split: Split, seeds: range, protocols: tuple[str, ...]
) -> pd.DataFrame:
    """Return the scores of all methods on the held-out sections of a split, under one protocol or both."""
    published: dict[str, Callable[[], Any]] = {
        "mclstexp": lambda: hq.models.MclSTExp(hq.models.MclSTExpConfig.published("embedding")),
        "spahgc": lambda: hq.models.SpaHGC(hq.models.SpaHGCConfig.published()),
    }
    methods = {f"{paper}, published": published[paper], "stack": hq.models.Stack}
    found = hq.tl.evaluate_expression(
        sections, methods, use_rep="X_patch", splits=[split], seeds=seeds, progress=False,
        leave_out="section" if "theirs" in protocols else "patient", protocol="published",
    )  # fmt: skip
    theirs = found.published[found.published["code"] == paper]
    theirs = theirs.rename(columns={"pcc_mean": "score"}).assign(score_of="mean correlation (flawed)")
    ours = found.scores[found.scores["fold"] != "all"]
    ours = ours[ours["gene_set"].isin(["panel", "top50_mean"])].melt(
        ["section", "method", "kind", "seed", "gene_set"], ["pcc_median", "pcc_median_adjusted"], "score_of", "score"
    )
    columns = ["section", "method", "kind", "seed", "gene_set", "score", "score_of"]
    tables = {"theirs": theirs[columns], "ours": ours[columns]}
    return pd.concat([tables[name].assign(protocol=name) for name in protocols], ignore_index=True)


def run_expression(
    sections: dict[str, AnnData], out: Path, seeds: range, paper: str, encoder: str
) -> Iterator[pd.DataFrame]:
    for name, adata in sections.items():
        record = adata.uns["histoquilt"]
        if "image" not in record:
            raise SystemExit(f"{name} has no image: {paper} cannot be run on it. Remove its row from the table.")
        with hq.io.open_image(adata) as slide:
            hq.im.embed_patches(
                adata, slide, mpp=slide.mpp / record["image"]["image_scale"], encoder=encoder, field_um=FIELD_UM,
                image_scale=record["image"]["image_scale"], key_added="X_patch", cache=out / "cache", progress=False,
            )  # fmt: skip
    known = {name: str(adata.obs["patient"].iloc[0]) for name, adata in sections.items() if "patient" in adata.obs}
    table = pd.DataFrame({"patient": pd.Series(known, dtype=object).reindex(list(sections))})
    several = len(known) == len(sections) and len(set(known.values())) > 1
    by_section = leave_one_out(table, by="section")
    plans = [(("theirs",), by_section), (("ours",), leave_one_out(table, by="patient"))] if several else []
    if not several:
        print("One patient (or none known): our protocol leaves sections out too, which is optimistic.")
        plans = [(("theirs", "ours"), by_section)]
    for protocols, splits in plans:
        for split in splits:
            file = out / paper / f"{'_and_'.join(protocols)}_{split.fold}.csv"
            yield kept(file, partial(expression_of, sections, paper, split, seeds, protocols))


# --- the page -----------------------------------------------------------------------------------------------------


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over sections and seeds, their spread, and the mean of the best seed of each section."""
    keys = [key for key in ("protocol", "score_of", "gene_set", "kind", "method") if key in rows]
    of_section = rows.groupby([*keys, "section"], sort=False)["score"].agg(["mean", "std", "max"])
    by = of_section.groupby(level=keys, sort=False)
    table = by["mean"].agg(mean="mean", n_sections="size")
    table["sd over sections"] = by["mean"].std()
    table["sd over seeds"] = by["std"].mean()  # of a section, then the mean over sections
    table["best seed (flattering)"] = by["max"].mean()
    return table.reset_index().sort_values([*keys[:-2], "mean"], ascending=[True] * (len(keys) - 2) + [False])


def each_section(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the score of every section, with its spread where there are several seeds."""
    keys = [key for key in ("protocol", "score_of", "gene_set", "method") if key in rows]
    found = rows.groupby([*keys, "section"], sort=False)["score"].agg(["mean", "std"]).reset_index()
    spread = found["std"].map(" ± {:.3f}".format, na_action="ignore").fillna("")
    found["score"] = found["mean"].map("{:.3f}".format) + spread
    return found.pivot_table("score", keys, "section", aggfunc="first", sort=False).fillna("")


def write_page(rows: pd.DataFrame, paper: str, sections: list[str], seconds: float, out: Path) -> None:
    """Write the tables and one page."""
    rows.to_csv(out / f"{paper}.csv", index=False)
    table = summary(rows)
    table.to_csv(out / f"{paper}_summary.csv", index=False)
    study, every = ALL_SECTIONS[paper]
    missing = [name for name in every if name not in sections]
    partial_words = f"Partial: {len(missing)} of {len(every)} sections of {study} are not here ({', '.join(missing)})."
    quoted = pd.DataFrame(QUOTED[paper], columns=["row", "of", "published", "source"])
    parts = [
        f"<h1>{escape(paper)}</h1>",
        f"<p><b>{escape(partial_words)}</b></p>" if missing else "",
        f"<p>Sections: {escape(', '.join(sections))}. Wall time {seconds / 60:.0f} min.</p>",
        "<h2>Means over sections and seeds</h2>", table.to_html(index=False, float_format="%.3f", na_rep=""),
        "<h2>Published (quoted, not computed here)</h2>", quoted.to_html(index=False),
        "<h2>Each section</h2>", each_section(rows).to_html(),
        "<h2>What is flawed</h2><pre>", escape(str(__doc__).replace("``", "")), "</pre>",
    ]  # fmt: skip
    style = "body{font:15px system-ui;margin:2em;max-width:1100px} td,th{padding:3px 9px} pre{white-space:pre-wrap}"
    head = f'<!doctype html><meta charset="utf-8"><title>{escape(paper)}, reproduced</title><style>{style}</style>'
    (out / f"{paper}.html").write_text(head + "".join(parts), encoding="utf-8")
    print(table.round(3).to_string(index=False))
    print(partial_words if missing else "All sections.", f"Page: {out / f'{paper}.html'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", choices=list(ALL_SECTIONS))
    parser.add_argument("place", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("out/reproduce"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--encoder", default="he_texture", help="the papers': timm:densenet121, UNI")
    parser.add_argument("--label-key", default="labels", help="column of obs with the regions, for spamask")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    sections, seeds = read_study(asked.place, asked.out), range(asked.seeds)
    if asked.paper == "spamask":
        tables = run_spamask(sections, asked.out, seeds, asked.label_key)
    else:
        tables = run_expression(sections, asked.out, seeds, asked.paper, asked.encoder)
    done = list(tables)
    rows = pd.concat(done, ignore_index=True)
    seconds = sum(table["wall_s"].iloc[0] for table in done)
    write_page(rows[np.isfinite(rows["score"])], asked.paper, list(sections), seconds, asked.out)


if __name__ == "__main__":
    main()
