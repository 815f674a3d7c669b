"""Job: both tasks on built-in tissue with known truth, with baselines."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys
from histoquilt.jobs._demo_expression import StainDemo, predict_bare_slide
from histoquilt.jobs._demo_viewers import PAGE, write_viewer_files
from histoquilt.jobs.work._options import PathName, RunConfig, configured, documented, seed_option
from histoquilt.jobs.work._output import DomainResults, check_out, write_domain_results
from histoquilt.jobs.work._run import JobResult, check_one_process, start_run

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

N_DOMAINS = 6
TRUTH = "domain_true"
N_PCS = 20  # of the baselines


@documented
@dataclass(frozen=True, kw_only=True)
class DemoConfig(RunConfig):
    """Options of :func:`run_demo`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.jobs.DemoConfig(seed=3, overwrite=True).seed
    3
    """

    seed: int = seed_option()


@dataclass(frozen=True)
class DemoResult(JobResult):
    """Results of :func:`run_demo`.

    Attributes
    ----------
    section
        Built-in section with its domains.
    scores
        Columns ``method, ari, nmi``: agreement of domains with the truth.
    expression_scores
        Columns ``what, method, score``: scores of the predicted slide.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd, histoquilt as hq
    >>> scores = pd.DataFrame({"method": ["SharedFactors", "PCA + k-means"], "ari": [0.9, 0.5]})
    >>> done = hq.jobs.DemoResult(Path("histoquilt-demo"), {"seed": 0}, scores=scores)
    >>> done.out.name, done.facts["seed"], done.scores["ari"].tolist()
    ('histoquilt-demo', 0, [0.9, 0.5])
    """

    section: "AnnData | None" = None
    scores: "pd.DataFrame | None" = None
    expression_scores: "pd.DataFrame | None" = None


def run_demo(out: PathName, settings: DemoConfig | None = None, **options: Any) -> DemoResult:
    """Find domains and predict expression on built-in tissue with known truth, and score both with baselines.

    Parameters
    ----------
    out
        Path of the results folder.
    settings
        Options as one object.
    options
        Fields of :class:`DemoConfig`; they override ``settings``.

    Returns
    -------
    :class:`DemoResult`. The folder holds ``report.html`` (domains), ``expression.html`` (prediction), both slides,
    ``exports/`` with ``viewers.html`` (where to drag which file), ``scores.csv``, ``expression_scores.csv`` and
    ``run.json``.

    Raises
    ------
    JobError
        An option is wrong, or the folder is not writable.
    FileExistsError
        ``out`` holds results and ``overwrite`` is false.

    Examples
    --------
    >>> import histoquilt as hq
    >>> done = hq.jobs.run_demo("histoquilt-demo", seed=0)  # doctest: +SKIP
    >>> try:
    ...     hq.jobs.run_demo(getfixture("tmp_path"), seed=-1)
    ... except hq.jobs.JobError as error:
    ...     print(error)
    seed= must be a whole number of at least 0, got -1.
    """
    asked, out = configured(DemoConfig, settings, options), Path(out)
    check_one_process("demo")
    check_out(out, overwrite=asked.overwrite)
    with start_run("demo", {"out": out}, asked) as run:
        record, seed = run.record, asked.seed
        with record.stage("import"):
            from histoquilt import datasets, tl
            from histoquilt.runtime import resolve_device

            device = str(resolve_device(asked.device, sparse=True))
        with record.stage("make tissue"):
            adata, image = datasets.toy_slide(n_spots=1500, n_genes=500, n_domains=N_DOMAINS, mpp=4, seed=seed)
        with record.stage("domains"):
            tl.spatial_domains(adata, N_DOMAINS, seed=seed, device=device, progress=asked.progress)
        with record.stage("markers"):
            tl.domain_markers(adata)
        with record.stage("baselines"):
            scores = score(adata, seed=seed)
        slide = predict_bare_slide(record, seed=seed, device=device, progress=asked.progress)
        shared = {"seed": seed, "n_domains": N_DOMAINS, "device": device, "n_spots": adata.n_obs}
        shared["scores"] = {f"ARI, {row.method}": f"{row.ari:.3f}" for row in scores.itertuples()}
        results = DomainResults(
            {"toy_slide": adata, "bare_slide": slide.bare},
            title="Demo: domains of a measured toy slide, and of a bare one",
            tables={"scores.csv": scores, "expression_scores.csv": slide.scores},
            pages={"expression.html": lambda path: _write_expression_page(path, slide, run.facts(**shared))},
            links={
                "How the bare slide's expression was predicted from its stain": "expression.html",
                "Where to drag the files for QuPath, Loupe Browser and others": PAGE,
            },
        )
        with run.results() as folder:
            write_domain_results(folder, results, lambda: run.facts(**shared))
            write_viewer_files(folder, adata, image, "toy_slide", run.facts(**shared))
            facts = run.finish(folder, shared)
    return DemoResult(out, facts, section=adata, scores=scores, expression_scores=slide.scores)


def _write_expression_page(path: Path, slide: StainDemo, facts: dict[str, Any]) -> None:
    from histoquilt.report import write_prediction_report

    write_prediction_report(
        path,
        {"the slide, never sequenced": slide.bare, "the same, where it was measured after all": slide.checked},
        facts=facts,
        title="Demo: expression predicted from the stain of a third section",
        links={"Domains of this slide, and of a measured one": "report.html"},
    )


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
