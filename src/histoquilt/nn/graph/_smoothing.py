"""Averaging over a graph, as often as each feature bears."""

from collections.abc import Sequence

import torch
from torch import Tensor

from histoquilt.nn.graph._sparse import Propagation


@torch.no_grad()
def smooth_by_hops(
    x: Tensor, averaging: Propagation | Sequence[Propagation], hops: Tensor, hidden: Tensor | None = None
) -> Tensor:
    """Average every feature ``hops`` times over spots and their neighbours; hidden spots do not contribute.

    Parameters
    ----------
    x
        (n_spots, n_features).
    averaging
        ``D^-1 (A + I)``, (n_spots, n_spots); or one for each averaging, each for the first so many of the spots of the
        one before, as :meth:`TileGraph.averagings` gives them.
    hops
        (n_features,) int, 0 for as it is.
    hidden
        (n_spots,) bool. A hidden spot is predicted from spots that are not; where none is within reach, and for
        features that are not averaged, it gets zero.

    Returns
    -------
    (n_spots, n_features); the spots of the last averaging.
    """
    steps = int(hops.max()) * [averaging] if isinstance(averaging, Propagation) else averaging
    weight = x.new_ones(x.shape[0], 1) if hidden is None else (~hidden).to(x.dtype)[:, None]
    reached = x * weight
    smooth = torch.where(hops == 0, reached, 0.0)
    for hop, step in enumerate(steps, start=1):
        reached, weight = step(reached), step(weight)
        smooth = torch.where(hops == hop, reached / weight.clamp_min(1e-12), smooth[: len(reached)])
    return smooth
