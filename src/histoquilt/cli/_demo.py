"""``histoquilt demo``: the whole way on tissue with known truth, with baselines beside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys
from histoquilt.cli._console import told
from histoquilt.cli._demo_expression import read_off_stain
from histoquilt.cli._domains_options import check_arguments
from histoquilt.cli._output import check_out, write_results
from histoquilt.cli._record import RunRecord

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

N_DOMAINS = 6
TRUTH = "domain_true"
N_PCS = 20  # of the baselines


def show_demo(out: Path, *, seed: int, device: str, overwrite: bool, quiet: bool) -> None:
    """Do both jobs on built-in tissue: domains of a section beside two baselines, and expression read off a stain."""
    arguments = {"out": str(out), "seed": seed, "device": device, "overwrite": overwrite, "quiet": quiet}
    check_arguments(N_DOMAINS, device)
    check_out(out, overwrite=overwrite)
    record = RunRecord("demo", arguments)
    with told(quiet=True) as console:
        console.speak()
        with record.stage("import"):
            from histoquilt import datasets, tl
            from histoquilt.runtime import resolve_device

            device = str(resolve_device(device, sparse=True))
        with record.stage("make tissue"):
            adata, _ = datasets.toy_slide(n_spots=1500, n_genes=500, n_domains=N_DOMAINS, mpp=4, seed=seed)
        with record.stage("domains"):
            tl.spatial_domains(adata, N_DOMAINS, seed=seed, device=device, progress=not quiet)
        with record.stage("markers"):
            tl.domain_markers(adata)
        with record.stage("baselines"):
            scores = score(adata, seed=seed)
        stain = read_off_stain(record, seed=seed, device=device, progress=not quiet)

        def facts() -> dict[str, Any]:
            shared = {"seed": seed, "n_domains": N_DOMAINS, "device": device, "n_spots": adata.n_obs}
            ari = {f"ARI, {row.method}": f"{row.ari:.3f}" for row in scores.itertuples()}
            return record.finish(warnings=console.warnings, **shared, scores=ari)

        def write_expression(path: Path) -> None:
            from histoquilt.report import write_prediction_report

            write_prediction_report(
                path,
                {"the slide, never sequenced": stain.bare, "the same, where it was measured after all": stain.checked},
                facts=facts(),
                title="Demo: expression read off the stain of a third section",
                links={"Domains of this slide, and of a measured one": "report.html"},
            )

        with record.stage("write"):
            write_results(
                out,
                {"toy_slide": adata, "bare_slide": stain.bare},
                facts,
                title="Demo: domains of a measured toy slide, and of a bare one",
                overwrite=overwrite,
                tables={"scores.csv": scores, "expression_scores.csv": stain.scores},
                pages={"expression.html": write_expression},
                links={"How the bare slide's expression was read off its stain": "expression.html"},
            )
    if not quiet:
        print(f"1. Domains of a built-in section: {adata.n_obs:,} spots, {adata.n_vars} genes, {N_DOMAINS} domains.")
        print(f"  {'agreement with the truth':<48}{'ARI':>6}{'NMI':>7}")
        for row in scores.itertuples():
            print(f"  {row.method:<48}{row.ari:>6.3f}{row.nmi:>7.3f}")
        print("2. Expression read off H&E: trained on two sections, the third given as an image alone.")
        for row in stain.scores.itertuples():
            print(f"  {f'{row.what}, {row.method}':<58}{row.score:>6.3f}")
        print(f"Look at: {out / 'report.html'} (domains of both slides)")
        print(f"         {out / 'expression.html'} (predicted genes on the tissue, beside measured ones)")


def score(adata: "AnnData", *, seed: int) -> "pd.DataFrame":
    """Compare the domains, and those of two baselines, with the truth.

    The baselines divide principal components by k-means, as they are and after averaging over the neighbours in the
    graph that the domains were found with.

    Returns
    -------
    Table with the columns ``method``, ``ari``, ``nmi``; the domains in ``obs["domain"]`` come first.
    """
    import numpy as np
    import pandas as pd
    from anndata import AnnData

    from histoquilt import metrics, pp, tl

    _, pcs, _ = pp.GeneFeatures.fit(pp.expression(adata), n_pcs=N_PCS, seed=seed)
    graph = adata.obsp[Keys.CONNECTIVITIES]
    n_neighbors = np.asarray(graph.sum(axis=1)).reshape(-1, 1)
    baselines = AnnData(obs=adata.obs[[TRUTH]], obsm={"X_pca": pcs, Keys.SPATIAL: adata.obsm[Keys.SPATIAL]})
    baselines.obsm["X_averaged"] = (pcs + graph @ pcs) / (1 + n_neighbors)
    for use_rep in ("X_pca", "X_averaged"):
        tl.cluster_kmeans(baselines, N_DOMAINS, use_rep=use_rep, key_added=use_rep, seed=seed)
    found = {
        "histoquilt": adata.obs[Keys.DOMAIN],
        "PCA + k-means": baselines.obs["X_pca"],
        "PCA averaged over neighbours + k-means": baselines.obs["X_averaged"],
    }
    truth = adata.obs[TRUTH]
    rows = [(name, metrics.ari(truth, labels), metrics.nmi(truth, labels)) for name, labels in found.items()]
    return pd.DataFrame(rows, columns=["method", "ari", "nmi"])
