"""Exact nearest-neighbour search in blocks."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Nearest:
    """The ``k`` nearest references of every query, nearest first.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> query, reference = torch.tensor([[0.0, 0]]), torch.tensor([[3.0, 4], [1, 0], [0, 2]])
    >>> nearest = hq.nn.nearest_references(query, reference, k=2, metric="euclidean")
    >>> nearest.index.tolist(), nearest.squared.tolist()
    ([[1, 2]], [[1.0, 4.0]])
    """

    index: Tensor  # (n_queries, k) int64, rows of the references
    squared: Tensor  # (n_queries, k) squared Euclidean distance; between unit vectors 2 - 2 cos, from 0 to 4


@torch.no_grad()
def nearest_references(
    query: Tensor,
    reference: Tensor,
    k: int,
    *,
    metric: Literal["cosine", "euclidean"] = "cosine",
    block: int = 4096,
) -> Nearest:
    """Find the ``k`` nearest references of every query by exact search.

    Parameters
    ----------
    query, reference
        Arrays (n_queries, n_features) and (n_references, n_features).
    k
        Number of references to find.
    metric
        With ``"cosine"``, a row of zeros has cosine 0 to every other.
    block
        Number of queries and references compared at a time. Changes memory and speed, not results (except the order of
        equally near references).

    Raises
    ------
    ValueError
        ``k`` is not between 1 and the number of references, or the widths differ.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> query, reference = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 5], [3, 0], [1, 1]])
    >>> hq.nn.nearest_references(query, reference, k=2).index.tolist()  # by angle, not by length
    [[1, 2]]
    """
    if query.shape[1] != reference.shape[1]:
        raise ValueError(
            f"Queries have {query.shape[1]} features and references {reference.shape[1]}: embed both in one way."
        )
    if not 1 <= k <= len(reference):
        raise ValueError(f"k must lie between 1 and the {len(reference)} references, got {k}.")
    if metric == "cosine":
        query, reference = functional.normalize(query, dim=1), functional.normalize(reference, dim=1)
    # |q - r|^2 = |q|^2 - 2 (q r - |r|^2 / 2): the nearest have the largest q r - |r|^2 / 2
    half = reference.new_zeros(len(reference)) if metric == "cosine" else (reference**2).sum(dim=1) / 2
    blocks = [_search(part, reference, half, k, block) for part in query.split(block)]
    closeness, index = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    length = 2.0 if metric == "cosine" else (query**2).sum(dim=1, keepdim=True)
    return Nearest(index, (length - 2 * closeness).clamp_min(0))


def _search(query: Tensor, references: Tensor, half: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    best = query.new_empty(len(query), 0)
    index = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
    for start in range(0, len(references), block):
        closeness = query @ references[start : start + block].T - half[start : start + block]  # (n_queries, block)
        near, position = closeness.topk(min(k, closeness.shape[1]), dim=1)
        best, index = torch.cat([best, near], dim=1), torch.cat([index, position + start], dim=1)
        best, position = best.topk(min(k, best.shape[1]), dim=1)
        index = index.gather(1, position)
    return best, index
