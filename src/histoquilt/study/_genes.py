"""Gene identifiers: kind, species, and display names."""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique

from histoquilt._base import Keys, MissingKey, listed
from histoquilt.runtime import logger, warn_user
from histoquilt.study._scale import provenance

# species code (none for human), number, version, and GENCODE's mark of the Y copy of a shared gene
_ENSEMBL = re.compile(r"^ENS(?P<species>[A-Z]{3,4})?G(?P<number>\d{11})(?P<version>\.\d+)?(?P<copy>_PAR_Y)?$")
_UNNAMED = {"", "nan", "none", "<na>", "null"}
_MOST = 0.9  # Ensembl tables have a few transgenes, symbol tables identifiers of unnamed genes

# columns in which scanpy, cellxgene, squidpy and spatialdata-io keep the other name of a gene, by preference
_ID_COLUMNS = (Keys.GENE_ID, "gene_ids", "ensembl_id", "gene_ensembl", "feature_id")
SYMBOL_COLUMNS = (Keys.GENE_SYMBOL, "gene_symbols", "gene_name", "gene_names", "feature_name", "symbol", "SYMBOL")

GeneKind = Literal["symbol", "ensembl", "ensembl_version", "mixed", "none"]
Species = Literal["human", "mouse", "other", "mixed", "unknown"]


@dataclass(frozen=True)
class GeneIds:
    """Kind and species of gene names (:func:`detect_gene_ids`).

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.io.detect_gene_ids(["Mbp", "Snap25", "Plp1", "Mbp"])
    GeneIds(kind='symbol', species='mouse', species_from='casing', duplicates=('Mbp',))
    """

    kind: GeneKind  # "mixed": neither nine in ten Ensembl identifiers nor nine in ten symbols; "none": no genes
    species: Species  # "mixed": human and mouse identifiers together
    species_from: str  # "identifiers" (certain), "casing" (a guess: rat symbols are written as mouse ones) or "none"
    duplicates: tuple[str, ...]  # repeated names, each listed once


def detect_gene_ids(names: Iterable[str]) -> GeneIds:
    """Distinguish Ensembl identifiers from symbols, and guess the species.

    Parameters
    ----------
    names
        Gene names, as in ``adata.var_names``.

    Raises
    ------
    ValueError
        Some genes have no name (empty or NaN).

    Examples
    --------
    >>> import histoquilt as hq
    >>> gene_ids = hq.io.detect_gene_ids(["ENSMUSG00000064339.1", "ENSMUSG00000064337.1"])
    >>> gene_ids.kind, gene_ids.species
    ('ensembl_version', 'mouse')
    >>> hq.io.detect_gene_ids(["Mbp", "Snap25", "Plp1", "Mbp"]).duplicates
    ('Mbp',)
    """
    names = list(names)
    missing = [position for position, name in enumerate(names) if _is_unnamed(name)]
    if missing:
        raise ValueError(
            f"{len(missing):,} of {len(names):,} genes have no name (empty or NaN), first at column {missing[0]}. "
            "Give every gene a name in adata.var_names, or read the table with its gene column."
        )
    index = pd.Index([str(name) for name in names])
    duplicates = tuple(index[index.duplicated()].unique())
    if not names:
        return GeneIds("none", "unknown", "none", ())
    matches = [match for name in index if (match := _ENSEMBL.match(name))]
    share = len(matches) / len(names)
    if share >= _MOST:
        versioned = sum(match["version"] is not None for match in matches) > len(matches) / 2
        kind: GeneKind = "ensembl_version" if versioned else "ensembl"
    else:
        kind = "symbol" if share <= 1 - _MOST else "mixed"
    if kind == "symbol":
        species = _species_from_casing([name for name in index if not _ENSEMBL.match(name)])
        return GeneIds(kind, species, "none" if species == "unknown" else "casing", duplicates)
    return GeneIds(kind, _species_from_ids([match["species"] for match in matches]), "identifiers", duplicates)


def annotate_genes(adata: AnnData, *, gene_id: str | None = None, gene_symbol: str | None = None) -> None:
    """Write the identifier and the display name of every gene, and make ``var_names`` unique.

    No gene is merged or dropped: the second of two genes with the same name is renamed ``"NAME-1"`` in ``var_names``,
    with a warning; both keep ``NAME`` as their display name.

    Parameters
    ----------
    adata
        One section, changed in place.
    gene_id, gene_symbol
        Columns of ``var`` with Ensembl identifiers and symbols. By default the usual ones (``gene_ids``,
        ``gene_symbols``, ``feature_name``, ...), else ``var_names``.

    Returns
    -------
    None. Adds to ``adata``:

    ``var["gene_id"]`` : str, Ensembl identifier without version, ``""`` if unknown
    ``var["gene_symbol"]`` : str, display name; the identifier if no symbol is known
    ``uns["histoquilt"]["genes"]`` : dict with ``kind``, ``species``, ``species_from``, ``n_duplicated``

    Raises
    ------
    KeyError
        ``gene_id`` or ``gene_symbol`` is not in ``var``.
    ValueError
        Some genes have neither a name nor an identifier.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = AnnData(np.ones((2, 2)), var=pd.DataFrame(index=["ENSG00000197971.15", "ENSG00000132639.13"]))
    >>> hq.io.annotate_genes(adata)
    >>> list(adata.var["gene_id"]), adata.uns["histoquilt"]["genes"]["kind"]
    (['ENSG00000197971', 'ENSG00000132639'], 'ensembl_version')
    """
    ids = _column(adata, gene_id, _ID_COLUMNS, argument="gene_id")
    symbols = _column(adata, gene_symbol, SYMBOL_COLUMNS, argument="gene_symbol")
    names = _names_or_ids(list(adata.var_names), ids)
    detected = detect_gene_ids(names)

    known_ids = [_without_version(name) for name in names]
    if ids is not None:
        known_ids = [_without_version(given, keep=True) or known for given, known in zip(ids, known_ids, strict=True)]
    display = [
        str(name) if _is_unnamed(symbol) else str(symbol) for name, symbol in zip(names, symbols or names, strict=True)
    ]
    adata.var[Keys.GENE_ID] = np.array(known_ids, dtype=object)
    adata.var[Keys.GENE_SYMBOL] = np.array(display, dtype=object)
    adata.var_names = make_index_unique(pd.Index(names, dtype=object))
    if detected.duplicates:
        warn_user(
            f"Names that several genes share ({len(detected.duplicates):,}): {listed(detected.duplicates, 5)}. All "
            "genes are kept; var_names has '-1', '-2' added to the later ones, var['gene_symbol'] the name as it was."
        )
    species, species_from = detected.species, detected.species_from
    if species_from != "identifiers" and any(known_ids):
        from_column = detect_gene_ids(filter(None, known_ids))
        if from_column.species_from == "identifiers":
            species, species_from = from_column.species, "identifiers"
    provenance(adata)["genes"] = {
        "kind": detected.kind,
        Keys.GENE_SPECIES: species,
        "species_from": species_from,
        "n_duplicated": len(detected.duplicates),
    }
    logger.info("%s genes named by %s; species %s (from %s)", f"{len(names):,}", detected.kind, species, species_from)


@contextmanager
def quiet_duplicates() -> Iterator[None]:
    """Silence anndata's warning about repeated gene names; :func:`annotate_genes` makes them unique and warns.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.study import quiet_duplicates
    >>> with quiet_duplicates():  # no warning
    ...     adata = AnnData(np.ones((1, 2)), var=pd.DataFrame(index=["MBP", "MBP"]))
    >>> adata.var_names.tolist()
    ['MBP', 'MBP']
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        yield


def _is_unnamed(name: object) -> bool:
    """Return whether a name is missing; pandas and h5ad files turn NaN into 'nan'."""
    return name is None or name is pd.NA or str(name).strip().lower() in _UNNAMED


def _without_version(name: object, *, keep: bool = False) -> str:
    """Return an Ensembl identifier without its version, and ``""`` for another name unless ``keep``."""
    match = _ENSEMBL.match(str(name))
    if match:
        return f"ENS{match['species'] or ''}G{match['number']}{match['copy'] or ''}"
    return str(name) if keep and not _is_unnamed(name) else ""


def _names_or_ids(names: list[str], ids: list | None) -> list[str]:
    """Return the names, missing ones replaced by the identifier."""
    if ids is None:
        return names
    missing = [identifier for name, identifier in zip(names, ids, strict=True) if _is_unnamed(name)]
    if not missing or any(map(_is_unnamed, missing)):
        return names  # detect_gene_ids raises
    warn_user(
        f"{len(missing):,} of {len(names):,} genes have no symbol; they are named by their identifier, "
        f"first: {listed(missing, 3)}."
    )
    return [str(identifier) if _is_unnamed(name) else name for name, identifier in zip(names, ids, strict=True)]


def _column(adata: AnnData, named: str | None, usual: tuple[str, ...], *, argument: str) -> list | None:
    """Return the values of a column of ``var``: the named one, or the first usual one."""
    if named is not None and named not in adata.var:
        raise MissingKey(named, "adata.var", adata.var.columns, f"Pass {argument}=.")
    for column in (named,) if named else usual:
        if column in adata.var:
            return adata.var[column].tolist()
    return None


def _species_from_ids(codes: list[str | None]) -> Species:
    """Return the species by the letters between ENS and G."""
    share = {code: codes.count(code) / len(codes) for code in set(codes)}
    if share.get(None, 0) >= _MOST:
        return "human"
    if share.get("MUS", 0) >= _MOST:
        return "mouse"
    if {None, "MUS"} <= set(share) and share[None] + share["MUS"] >= _MOST:
        return "mixed"
    return "other"


def _species_from_casing(symbols: list[str]) -> Species:
    """Guess the species by the spelling of symbols: human GENE and C1orf159, mouse Gene and 0610007N19Rik."""
    words = [symbol for symbol in symbols if sum(letter.isalpha() for letter in symbol) > 1]
    if not words:
        return "unknown"
    upper = sum(bool(re.fullmatch(r"[^a-z]+|C[\dXY]+orf\d+", word)) for word in words) / len(words)
    capital = sum(bool(re.fullmatch(r"[A-Z][^A-Z]+|\d+[A-Z]\d+Rik\d*", word)) for word in words) / len(words)
    if upper >= _MOST:
        return "human"
    return "mouse" if capital >= 0.8 else "other"  # mouse tables hold Gm12345, H2-Aa, mt-Co1, AI414108


def gene_rows(adata: AnnData, genes: Sequence[str]) -> list[int]:
    """Return column numbers of genes, given by their name in ``var_names`` or by a symbol that only one gene has.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.study import gene_rows
    >>> var = pd.DataFrame({"gene_symbol": ["SNAP25", "MBP"]}, index=["ENSG00000132639", "ENSG00000197971"])
    >>> gene_rows(AnnData(np.ones((1, 2)), var=var), ["MBP", "ENSG00000132639"])
    [1, 0]
    """
    symbols, columns = gene_symbols(adata), []
    for name in genes:
        matches = np.flatnonzero(adata.var_names == name)[:1]
        if len(matches) == 0:
            matches = np.flatnonzero(symbols == name)
        if len(matches) == 0:
            raise KeyError(
                f"Gene {name!r} is neither in adata.var_names (first: {listed(adata.var_names, 5)}) nor in "
                f"adata.var[{Keys.GENE_SYMBOL!r}]. Check the species, and whether names are symbols or Ensembl ids."
            )
        if len(matches) > 1:
            names = listed(adata.var_names[matches], 5)
            raise KeyError(f"{len(matches)} genes have the symbol {name!r}: {names}. Pass one of these names.")
        columns.append(int(matches[0]))
    return columns


def gene_symbols(adata: AnnData) -> np.ndarray:
    """Return display names ``(n_genes,)``: the symbol, or the name in ``var_names`` of genes without one.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.study import gene_symbols
    >>> var = pd.DataFrame({"gene_symbol": ["SNAP25", ""]}, index=["ENSG00000132639", "ENSG00000197971"])
    >>> gene_symbols(AnnData(np.ones((1, 2)), var=var)).tolist()
    ['SNAP25', 'ENSG00000197971']
    """
    names = adata.var_names.to_numpy(dtype=object)
    if Keys.GENE_SYMBOL not in adata.var:
        return names
    symbols = adata.var[Keys.GENE_SYMBOL].astype(object).to_numpy()
    return np.where(pd.isna(symbols) | (symbols == ""), names, symbols)


def genes_by_reliability(var: pd.DataFrame) -> np.ndarray:
    """Return column numbers from the most to the least reliable gene of a prediction; unknown last.

    By reliability at equal depth; of equal ones, or if it is not known, by that of the correlation as it is.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.study import genes_by_reliability
    >>> genes_by_reliability(pd.DataFrame({"reliability": [0.2, None, 0.6]})).tolist()
    [2, 0, 1]
    """
    raw = var["reliability"].fillna(-np.inf).to_numpy(dtype=np.float64)
    adjusted = var.get("reliability_adjusted", pd.Series(np.nan, var.index)).fillna(-np.inf).to_numpy(dtype=np.float64)
    return np.lexsort((-raw, -adjusted))
