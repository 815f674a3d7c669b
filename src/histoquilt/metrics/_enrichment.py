"""Enrichment of the user's gene sets among well-predicted genes, by a hypergeometric test."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, hypergeom

from histoquilt._base import listed


def read_gmt(path: str | Path) -> dict[str, list[str]]:
    r"""Read gene sets from a GMT file, the format of MSigDB and Enrichr.

    Each line holds, separated by tabs, the name of a set, a description (ignored, may be empty) and its genes.

    Returns
    -------
    dict from name to genes, each once, in the order of the file.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        The file is not GMT, holds no gene set, or a name is not unique.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "sets.gmt"
    >>> _ = path.write_text("immune\tfrom a paper\tCD3E\tCD4\n")
    >>> read_gmt(path)
    {'immune': ['CD3E', 'CD4']}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no GMT file {path}. Download one, e.g. from MSigDB, or check the path.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a GMT file: it is not text. If it is zipped, unpack it first.") from error
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *rest = (cell.strip() for cell in line.split("\t"))
        genes = list(dict.fromkeys(gene for gene in rest[1:] if gene))
        if not name or not genes:
            raise ValueError(
                f"{path} is not a GMT file: line {number} reads {line[:60]!r}. Expected a name, a description and "
                "genes, separated by tabs."
            )
        if name in sets:
            raise ValueError(f"{path}: duplicate gene set {name!r} (line {number}); names must be unique.")
        sets[name] = genes
    if not sets:
        raise ValueError(f"{path} is empty: it holds no gene set.")
    return sets


def enrichment(
    gene_sets: str | Path | Mapping[str, Iterable[str]],
    hits: Iterable[str],
    background: Iterable[str],
    *,
    min_genes: int = 3,
) -> pd.DataFrame:
    """Test which gene sets hold more of the hits than a random choice from the background would.

    Parameters
    ----------
    gene_sets
        GMT file, or dict from name to genes. Genes must be named as in `background` (symbols or Ensembl).
    hits
        Genes of interest, e.g. those predicted with a false discovery rate below 5 %.
    background
        All genes that could have been hits: the panel of the model, *not* the genome. Panels are chosen for high
        expression, and against the genome every panel is enriched in ribosomes.
    min_genes
        Minimum number of genes of a set in the background; smaller sets, which cannot be significant and cost power,
        are left out and counted in the table's ``attrs["n_left_out"]``.

    Returns
    -------
    One row per set, the smallest p first: ``gene_set``, ``n_genes`` (in the background), ``n_hits``, ``expected``
    hits, ``fold`` (observed over expected), ``p_value`` (hypergeometric, one-sided), ``q_value`` (Benjamini-Hochberg
    over the sets tested), ``hits`` (their names, in the order of the set).

    Raises
    ------
    FileNotFoundError, ValueError
        The file is unusable as in :func:`read_gmt`; a hit is not in the background; the background is empty; or no set
        has ``min_genes`` genes in it.

    Examples
    --------
    >>> panel = [f"G{i}" for i in range(10)]
    >>> found = enrichment({"first": panel[:4], "last": panel[5:]}, panel[:3], panel)
    >>> found[["gene_set", "n_hits", "expected"]].values.tolist(), found["p_value"].round(4).tolist()
    ([['first', 3, 1.2], ['last', 0, 1.5]], [0.0333, 1.0])
    """
    sets = read_gmt(gene_sets) if isinstance(gene_sets, str | Path) else gene_sets
    universe, chosen = list(dict.fromkeys(background)), set(hits)
    if not universe:
        raise ValueError("background is empty. Pass all genes of the panel.")
    known = set(universe)
    if chosen - known:
        raise ValueError(
            f"{len(chosen - known):,} of {len(chosen):,} hits are not in the background: "
            f"{listed(sorted(chosen - known), 5)}. The background must hold every gene that could have been a hit."
        )
    members = {name: [gene for gene in dict.fromkeys(genes) if gene in known] for name, genes in sets.items()}
    tested = {name: genes for name, genes in members.items() if len(genes) >= min_genes}
    if not tested:
        example = next((list(genes)[:3] for genes in sets.values()), [])
        raise ValueError(
            f"No gene set has {min_genes} genes or more in the background of {len(universe):,} genes. The sets name "
            f"genes like {listed(example)}, the background like {listed(universe, 3)}: do both use symbols (or both "
            "Ensembl identifiers) and the same species?"
        )
    rows = []
    for name, genes in tested.items():
        found = [gene for gene in genes if gene in chosen]
        expected = len(genes) * len(chosen) / len(universe)
        rows.append({
            "gene_set": name, "n_genes": len(genes), "n_hits": len(found), "expected": expected,
            "fold": len(found) / expected if expected else np.nan,
            "p_value": float(hypergeom.sf(len(found) - 1, len(universe), len(genes), len(chosen))),
            "hits": found,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    table.insert(6, "q_value", false_discovery_control(table["p_value"].clip(0, 1)))
    table = table.sort_values("p_value", kind="stable", ignore_index=True)
    table.attrs["n_left_out"] = len(members) - len(tested)
    return table
