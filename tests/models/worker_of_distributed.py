"""What each of two processes does in test_distributed.py: ``torchrun ... worker_of_distributed.py FOLDER``."""

import sys
from pathlib import Path

import numpy as np
import torch

from histoquilt.nn.tiles._batch_norm import CoreBatchNorm
from histoquilt.runtime._processes import broadcast, check_same, is_main, rank, start_group, summed


def main(folder: Path) -> None:
    start_group(torch.device("cpu"))
    start_group(torch.device("cpu"))  # a second fit
    torch.manual_seed(0)
    x, slope = torch.randn(30, 4, dtype=torch.float64) + 5, torch.randn(30, 4, dtype=torch.float64)
    own = slice(0, 18) if is_main() else slice(18, 30)  # of which two rows are halo
    n_core = (own.stop - own.start) - 2
    norm = CoreBatchNorm(4).double()
    mine = x[own].requires_grad_()
    y = norm(mine, n_core)
    d_mine, d_weight, d_bias = torch.autograd.grad(y, [mine, norm.weight, norm.bias], slope[own])
    said = {}
    try:
        check_same([torch.full((3,), rank())], "A number")
    except RuntimeError as error:
        said["differs"] = str(error)
    check_same([torch.ones(3)], "A number")
    np.savez(
        folder / f"{rank()}.npz",
        y=y.detach(),
        d_mine=d_mine,
        d_weight=d_weight,
        d_bias=d_bias,
        running_var=norm.running_var,
        total=summed(torch.tensor([1.0 + rank()])),
        of_main=broadcast(torch.tensor([7 + rank()])),
        **said,
    )
    if not is_main():
        raise ValueError("the second process is out of luck")
    summed(torch.ones(1))  # waits for it
    (folder / "never").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
