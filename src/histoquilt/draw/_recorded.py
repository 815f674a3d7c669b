"""Tables recorded in ``uns``: markers, mixing of sections, stability of domain numbers, training."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, listed
from histoquilt.study import gene_symbols

STABLE = 0.8  # threshold of prediction strength (Tibshirani and Walther 2005)
MIXING_METRICS = {
    "ilisi_scaled": "sections mix (iLISI)",
    "clisi_scaled": "domains stay apart (cLISI)",
    "batch_silhouette": "sections mix (silhouette)",
    "batch_silhouette_within_domains": "sections mix within domains (silhouette)",
    "batch_entropy": "sections mix (entropy of neighbours)",
    "ilisi": "sections among neighbours (raw iLISI)",
    "clisi": "domains among neighbours (raw cLISI, lower is better)",
}


def marker_table(adata: AnnData, markers_key: str = Keys.MARKERS) -> pd.DataFrame:
    """Return the tidy marker table with domains as text, best first within each domain.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import marker_table
    >>> var = pd.DataFrame({"gene_symbol": ["MBP"]}, index=["ENSG00000197971"])
    >>> adata = AnnData(np.ones((1, 1)), var=var)
    >>> adata.uns["markers"] = pd.DataFrame({"domain": [1], "gene": ["ENSG00000197971"]})
    >>> marker_table(adata, "markers").values.tolist()
    [['1', 'ENSG00000197971', 'MBP']]
    """
    remedy = "Compute one with histoquilt.tl.domain_markers(adata)."
    table = _table(adata.uns, markers_key, ["domain", "gene"], "marker table", "adata.uns", remedy)
    table = table.assign(domain=table["domain"].astype(str), gene=table["gene"].astype(str))
    known = dict(zip(adata.var_names, gene_symbols(adata), strict=True))
    symbol = table["symbol"] if "symbol" in table else table["gene"].map(known)
    return table.assign(symbol=symbol.astype(object).where(symbol.notna(), table["gene"]).astype(str))


def mixing_values(adata: AnnData, key: str = "mixing") -> pd.DataFrame:
    """Return the recorded mixing of sections: ``embedding, sections, metric, value``, without missing values.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import mixing_values
    >>> table = pd.DataFrame({"metric": ["ilisi", "clisi"], "value": [0.8, None]})
    >>> table = table.assign(embedding="X_domains", sections="all")
    >>> mixing_values(AnnData(uns={"histoquilt": {"mixing": table}})).values.tolist()
    [['X_domains', 'all', 'ilisi', 0.8]]
    """
    ours = {**adata.uns.get(Keys.UNS, {})}
    if isinstance(ours.get(key), pd.DataFrame) and "value" in ours[key]:
        ours[key] = ours[key].dropna(subset="value")
    types = {"embedding": str, "sections": str, "metric": str, "value": float}  # a file may return categories
    remedy = "histoquilt.tl.integrate_sections writes it; histoquilt.metrics.mixing_table makes one of any embeddings."
    return _table(ours, key, list(types), "mixing table", _OURS, remedy)[list(types)].astype(types)


def stability_curve(adata: AnnData, key: str = "n_domains_curve") -> pd.DataFrame:
    """Return the recorded stability of each number of domains, ascending.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import stability_curve
    >>> curve = pd.DataFrame({"n_domains": [5, 4], "stability": [0.7, 0.9]})
    >>> stability_curve(AnnData(uns={"histoquilt": {"n_domains_curve": curve}})).values.tolist()
    [[4.0, 0.9], [5.0, 0.7]]
    """
    remedy = (
        "Make one with histoquilt.tl.choose_n_domains(adata), or leave n_domains out in histoquilt.tl.spatial_domains."
    )
    curve = _table(adata.uns.get(Keys.UNS, {}), key, ["n_domains", "stability"], "curve", _OURS, remedy)
    return curve.sort_values("n_domains").reset_index(drop=True)


def marked_number(adata: AnnData, curve: pd.DataFrame, domain_key: str = Keys.DOMAIN) -> tuple[int | None, str]:
    """Return the number of domains used, and whether it was chosen or given; else the largest stable number.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import marked_number
    >>> curve = pd.DataFrame({"n_domains": [4, 5, 6], "stable": [True, True, False]})
    >>> marked_number(AnnData(), curve)
    (5, 'is the largest stable number')
    >>> marked_number(AnnData(uns={"histoquilt": {"domain": {"n_domains": 4}}}), curve)
    (4, 'given')
    """
    recorded = adata.uns.get(Keys.UNS, {}).get(domain_key, {})
    stable = curve.loc[curve["stable"].astype(bool), "n_domains"] if "stable" in curve else pd.Series(dtype=int)
    if recorded.get("n_domains") is not None:
        number = int(recorded["n_domains"])
        return number, "chosen" if recorded.get("chosen", number == stable.max()) else "given"
    return (int(stable.max()), "is the largest stable number") if len(stable) else (None, "")


def model_record(adata: AnnData, domain_key: str = Keys.DOMAIN) -> tuple[str, dict[str, Any]]:
    """Return the name of the model that found the domains, and the record of its training.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from histoquilt.draw import model_record
    >>> ours = {"domain": {"model": "shared_factors"}, "shared_factors": {"seed": 0}}
    >>> model_record(AnnData(uns={"histoquilt": ours}))
    ('shared_factors', {'seed': 0})
    """
    ours = adata.uns.get(Keys.UNS, {})
    method = str(ours.get(domain_key, {}).get("model", "spamask"))  # files of earlier versions do not say
    return method, ours.get(method, {})


def training_history(adata: AnnData, model_key: str | None = None) -> pd.DataFrame:
    """Return the recorded training history, by default of the model that found the domains.

    Columns are ``run, epoch, loss, embedding_change``; ``KeyError`` is raised if no training was recorded.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import training_history
    >>> history = pd.DataFrame({"epoch": [1, 2], "loss": [0.9, 0.5]})
    >>> table = training_history(AnnData(uns={"histoquilt": {"spamask": {"history": history}}}), "spamask")
    >>> list(table), table["loss"].tolist()
    (['epoch', 'loss', 'run', 'embedding_change'], [0.9, 0.5])
    """
    model_key = model_record(adata)[0] if model_key is None else model_key
    recorded = adata.uns.get(Keys.UNS, {}).get(model_key, {})
    remedy = "Train a network with histoquilt.tl.spatial_domains(adata, model=histoquilt.models.SpaMask()) first."
    where = f"{_OURS}[{model_key!r}]"
    table = _table(recorded, "history", ["epoch", "loss"], "training history", where, remedy)
    table = table if "run" in table else table.assign(run=0)
    return table if "embedding_change" in table else table.assign(embedding_change=float("nan"))


_OURS = f"adata.uns['{Keys.UNS}']"


def _table(holder: Mapping[str, Any], key: str, columns: list[str], name: str, where: str, remedy: str) -> pd.DataFrame:
    table = holder.get(key)
    if not isinstance(table, pd.DataFrame) or table.empty or not set(columns) <= set(table.columns):
        raise KeyError(f"No {name} in {where}[{key!r}] (found: {listed(holder)}). {remedy}")
    return table
