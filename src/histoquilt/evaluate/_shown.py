"""Held-out sections with measured and predicted expression, for the report."""

from collections.abc import Mapping, Sequence

import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.evaluate._evaluation import RIDGE
from histoquilt.evaluate._study import EvaluationStudy
from histoquilt.study import declare_scale, provenance, write_result


def shown_label(methods: Mapping[str, object] | Sequence[str]) -> str:
    """Return the method whose predictions are kept: the first requested one, independent of its scores; else ridge.

    Examples
    --------
    >>> from histoquilt.evaluate import shown_label
    >>> shown_label(["spahgc", "knn"]), shown_label([])
    ('spahgc', 'ridge')
    """
    names = [methods] if isinstance(methods, str) else list(methods)
    return str(names[0]) if names else RIDGE


def shown_section(study: EvaluationStudy, name: str, found: AnnData, truth: pd.DataFrame, label: str) -> AnnData:
    """Return one held-out section for :attr:`Evaluation.predictions`.

    Parameters
    ----------
    study, name
        Study that holds the section and its image, and the name of the section.
    found
        Prediction returned by the model.
    truth
        Measured expression, ``(n_spots, n_scored)``.
    label
        Name of the method in the tables.
    """
    kept = found[:, list(truth.columns)]
    layer = f"predicted_{label}"
    ours = provenance(found)
    shown = AnnData(
        obs=found.obs.copy(),
        var=kept.var.copy(),
        obsm={
            key: found.obsm[key]
            for key in (study.study.slots.spatial_key, Keys.IN_MICRONS, Keys.IN_PIXELS)
            if key in found.obsm
        },
        layers={layer: kept.layers[ours["prediction"]["layer"]].copy(), Keys.MEASURED: truth.to_numpy()},
        uns={
            Keys.UNS: {key: value for key, value in ours.items() if key in (Keys.COORDINATES, Keys.IMAGE, Keys.WRITTEN)}
        },
    )
    provenance(shown)["prediction"] = {**ours["prediction"], "method": label, "layer": layer}
    for matrix in (layer, Keys.MEASURED):
        declare_scale(shown, matrix, "log1p_cp10k")
    depth = study.measured(name).depth
    if depth is not None:
        write_result(shown, "obs", Keys.MEASURED_COUNTS, depth)
    section = study.study[name].adata
    if Keys.SPATIAL in section.uns:
        shown.uns[Keys.SPATIAL] = section.uns[Keys.SPATIAL]
    symbols = study.symbols(name)
    if symbols and Keys.GENE_SYMBOL not in shown.var:
        shown.var[Keys.GENE_SYMBOL] = [symbols[gene] for gene in shown.var_names]
    return shown
