"""Prediction in the demo: a model is trained on two measured sections and predicts a bare slide."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoquilt._base import Keys
from histoquilt.jobs.work._record import RunRecord

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

TRUTH = "domain_true"
N_SPOTS, N_GENES, N_DOMAINS = 300, 120, 3
N_PANEL = 40  # genes by highest mean and by highest variance, each
N_RELIABLE = 10
MPP = 2.0
FIELDS_UM = (100.0, 200.0)


@dataclass(frozen=True)
class StainDemo:
    """Prediction of a slide, and its scores."""

    bare: "AnnData"  # The slide as one that was never sequenced: a grid of spots, predicted expression, domains
    # The same tissue at the spots that were measured after all, with the measurement beside the prediction
    checked: "AnnData"
    # Columns ``what, method, score``: median correlation over the panel and over the most reliable genes, and the
    # agreement (ARI) of domains with the truth
    scores: "pd.DataFrame"


def predict_bare_slide(record: RunRecord, *, seed: int, device: str, progress: bool) -> StainDemo:
    """Train the default method and ridge on two built-in slides, predict the third from its image, find its domains."""
    import numpy as np
    import pandas as pd
    from scipy.spatial import cKDTree

    from histoquilt import datasets, im, metrics, models, tl
    from histoquilt.study import genes_by_reliability

    with record.stage("make slides"):
        slides = datasets.toy_slides(3, N_SPOTS, N_GENES, N_DOMAINS, seed, mpp=MPP)
    with record.stage("embed"):
        for adata, image in slides.values():
            im.embed_patches(adata, image, mpp=MPP, field_um=FIELDS_UM, progress=False)
    truth, image = slides.pop("s3")
    training = {name: adata for name, (adata, _) in slides.items()}
    rows = []
    for make in (models.RidgeOnEmbedding, models.Stack):
        with record.stage(f"train {make.method}"):
            model = make().fit(training, n_genes=N_PANEL, seed=seed, device=device, progress=progress)
        with record.stage("predict"):
            checked = model.predict(truth)
        measured, predicted = checked.layers["measured_log1p_cp10k"], checked.layers[f"predicted_{model.method}"]
        correlation = metrics.score_genes(measured, predicted, list(checked.var_names))["pearson"].to_numpy()
        reliable = genes_by_reliability(checked.var)[:N_RELIABLE]
        for what, values in (
            (f"{len(correlation)} genes", correlation), (f"the {N_RELIABLE} most reliable", correlation[reliable]),
        ):  # fmt: skip
            rows.append((f"median correlation, {what}", model.method, np.median(values)))
    with record.stage("predict"):
        bare = model.predict(image, mpp=MPP)
    with record.stage("domains of the bare slide"):
        tl.spatial_domains(bare, N_DOMAINS, seed=seed, device=device, progress=progress)
        tl.domain_markers(bare)
    nearest = cKDTree(bare.obsm[Keys.SPATIAL]).query(truth.obsm[Keys.SPATIAL])[1]
    agreement = metrics.ari(truth.obs[TRUTH], bare.obs[Keys.DOMAIN].to_numpy()[nearest])
    rows.append(("agreement of its domains with the truth (ARI)", model.method, agreement))
    return StainDemo(bare, checked, pd.DataFrame(rows, columns=["what", "method", "score"]))
