"""Expression of the genes that a reader of a page may ask for: packed into the page, the rest into a file beside it."""

import base64
import gzip
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csc_matrix, issparse

from histoquilt.draw import color_ends, gene_symbols, sparse_expression
from histoquilt.report._encode import shades
from histoquilt.report._render import as_json
from histoquilt.runtime import atomic_file

EMBEDDED_BYTES = 2_500_000  # of packed expression in one page
BESIDE_BYTES = 30_000_000  # of packed expression in one page and the file beside it
_MAX_VALUES = 30_000_000  # expressed values of one AnnData that are packed
_PER_CHUNK = 32  # genes that are unpacked together, fewer if they have many values
_CHUNK_VALUES = 200_000


@dataclass(frozen=True)
class PackedGenes:
    """Expression of drawn spots as shades of a colour scale, gene by gene.

    Attributes
    ----------
    names
        Names shown, in the order of the chunks: of counts markers, then the most variable genes; of a layer as given.
    tops
        Upper end of each gene's colour scale (99th percentile), log1p of counts per 10,000.
    chunks
        Text for each ``per_chunk`` genes: gzip and base64 of the number of expressing spots of each gene (uint32),
        their rows (uint16, or uint32 from 65,536 spots) and shades from 1 to 254 (uint8), little-endian. If there are
        ``lows``: a shade from 0 to 254 for every spot, 255 for NaN, gene by gene (uint8).
    per_chunk
        Number of genes in a chunk, 32 or fewer.
    n_rows
        Number of drawn spots.
    n_left_out
        Number of expressed genes for which there was no room.
    lows
        Lower end of each gene's colour scale (1st percentile); empty if all are 0.
    """

    names: list[str]
    tops: list[float]
    chunks: list[str]
    per_chunk: int
    n_rows: int
    n_left_out: int
    lows: list[float] = field(default_factory=list)

    @classmethod
    def of(
        cls, adata: AnnData, rows: np.ndarray, first: Iterable[str], *, layer: str | None, n_bytes: int
    ) -> "PackedGenes":
        """Pack the genes of the spots ``rows``, those named in ``first`` before others, until ``n_bytes`` are full.

        Raises
        ------
        KeyError, ValueError
            There are no counts.
        """
        values = sparse_expression(adata, rows, layer=layer).tocsc()
        values.eliminate_zeros()
        order = _gene_order(values, adata.var_names.get_indexer(list(first)))
        n_values = np.cumsum(np.diff(values.indptr)[order])
        kept = order[n_values <= _MAX_VALUES]
        if not len(kept):
            raise ValueError("no gene is expressed")
        per_chunk = int(np.clip(_CHUNK_VALUES * len(kept) // max(n_values[len(kept) - 1], 1), 1, _PER_CHUNK))
        chunks, lows, tops, n_kept = _fill(partial(_chunk, values), kept, per_chunk, n_bytes)
        names = _shown_names(adata)
        return cls(
            [names[gene] for gene in kept[:n_kept]], tops, chunks, per_chunk, len(rows), len(order) - n_kept, lows
        )

    @classmethod
    def of_layer(
        cls, adata: AnnData, layer: str, rows: np.ndarray, genes: np.ndarray, *, n_bytes: int
    ) -> "PackedGenes":
        """Pack the values of a layer at the spots ``rows``, ``genes`` in their order, until ``n_bytes`` are full.

        Colour scales run from the 1st to the 99th percentile over all spots.
        """
        kept = genes[: max(_MAX_VALUES // max(len(rows), 1), 1)]
        per_chunk = int(np.clip(_CHUNK_VALUES // max(len(rows), 1), 1, _PER_CHUNK))
        chunks, lows, tops, n_kept = _fill(partial(_dense_chunk, adata.layers[layer], rows), kept, per_chunk, n_bytes)
        names = _shown_names(adata)
        return cls(
            [names[gene] for gene in kept[:n_kept]], tops, chunks, per_chunk, len(rows), len(genes) - n_kept, lows
        )

    def payload(self, n_bytes: int) -> tuple[dict[str, Any], list[str]]:
        """Return what the page holds, with at most ``n_bytes`` of expression, and the chunks of the file beside it."""
        n_embedded = int(np.searchsorted(np.cumsum([len(text) for text in self.chunks]), n_bytes, side="right"))
        known: dict[str, Any] = {"per_chunk": self.per_chunk, "n_rows": self.n_rows, "n_left_out": self.n_left_out}
        known |= {"names": self.names, "lows": self.lows, "tops": self.tops, "chunks": self.chunks[:n_embedded]}
        return known, self.chunks[n_embedded:]


def embed_genes(packed: Sequence[PackedGenes | None], path: str | os.PathLike[str]) -> list[dict[str, Any] | None]:
    """Return what the page at ``path`` holds of each; the rest, if any, is written to ``<name>.genes.js`` beside it.

    A page that was opened from a disk can load a script, but no other file. The script names the digest that the page
    expects, so that a file of another page is not taken for it.
    """
    share = EMBEDDED_BYTES // max(len(packed), 1)
    parts = [None if one is None else one.payload(share) for one in packed]
    rest = as_json([[] if part is None else part[1] for part in parts])
    digest = hashlib.sha256(rest.encode()).hexdigest()[:16]
    beside = Path(path).with_suffix(".genes.js")
    if any(part is not None and part[1] for part in parts):
        with atomic_file(beside) as temporary:
            Path(temporary).write_text(f'histoquiltGenes("{digest}",{rest});\n', encoding="utf-8")
    return [None if part is None else {**part[0], "file": beside.name, "digest": digest} for part in parts]


def _gene_order(values: csc_matrix, first: np.ndarray) -> np.ndarray:
    """Return the expressed genes: ``first``, then the others from the most variable on."""
    n_rows = values.shape[0]
    mean = np.asarray(values.sum(axis=0)).ravel() / n_rows
    variance = np.asarray(values.multiply(values).sum(axis=0)).ravel() / n_rows - mean**2
    order = np.concatenate([first[first >= 0], np.argsort(-variance, kind="stable")])
    order = order[np.sort(np.unique(order, return_index=True)[1])]
    return order[mean[order] > 0]


def _shown_names(adata: AnnData) -> list[str]:
    """Return the symbols of genes; those that several genes share with the name of the gene."""
    symbols, names = pd.Series(gene_symbols(adata).astype(str)), adata.var_names.astype(str)
    return np.where(symbols.duplicated(keep=False) & (symbols != names), symbols + " (" + names + ")", symbols).tolist()


def _fill(
    chunk: Callable[[np.ndarray], tuple[list[float], list[float], str]],
    genes: np.ndarray,
    per_chunk: int,
    n_bytes: int,
) -> tuple[list[str], list[float], list[float], int]:
    """Return chunks, as many as have room, the ends of the colour scales of their genes, and their number of genes."""
    chunks: list[str] = []
    lows: list[float] = []
    tops: list[float] = []
    for start in range(0, len(genes), per_chunk):
        of_low, of_top, text = chunk(genes[start : start + per_chunk])
        n_bytes -= len(text)
        if n_bytes < 0:
            return chunks, lows, tops, start
        chunks.append(text)
        lows += of_low
        tops += of_top
    return chunks, lows, tops, len(genes)


def _dense_chunk(matrix: Any, rows: np.ndarray, genes: np.ndarray) -> tuple[list[float], list[float], str]:
    """Return the ends of the colour scales of some genes, and a packed shade for every spot of ``rows``."""
    part = matrix[:, genes]
    values = np.asarray(part.toarray() if issparse(part) else part, dtype=np.float64)
    ends = [color_ends(of_gene) for of_gene in values.T]
    shaded = [shades(values[rows, i] - low, high - low) for i, (low, high) in enumerate(ends)]
    lows, tops = ([float(f"{end:.3g}") for end in of_genes] for of_genes in zip(*ends, strict=True))
    return lows, tops, _text(b"".join(of_gene.tobytes() for of_gene in shaded))


def _text(raw: bytes) -> str:
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()


def _chunk(values: csc_matrix, genes: np.ndarray) -> tuple[list[float], list[float], str]:
    """Return the upper ends of the colour scales of some genes, whose lower ones are 0, and their packed values."""
    part = values[:, genes]
    part.sort_indices()
    n_expressing = np.diff(part.indptr)
    tops = [round(_top(of_gene, values.shape[0]), 3) for of_gene in np.split(part.data, part.indptr[1:-1])]
    shaded = np.clip(np.rint(part.data / np.repeat(tops, n_expressing) * 254), 1, 254)
    row_type = "<u2" if values.shape[0] < 2**16 else "<u4"
    raw = b"".join([n_expressing.astype("<u4").tobytes(), part.indices.astype(row_type).tobytes(),
                    shaded.astype("u1").tobytes()])  # fmt: skip
    return [], tops, _text(raw)


def _top(expressed: np.ndarray, n_rows: int) -> float:
    """Return the 99th percentile of a gene over all spots, or its maximum if nearly all values are zero."""
    n_above = int(0.01 * (n_rows - 1))
    if len(expressed) <= n_above:
        return float(expressed.max())
    return float(np.partition(expressed, len(expressed) - 1 - n_above)[len(expressed) - 1 - n_above])
