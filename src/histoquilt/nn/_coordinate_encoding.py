"""Encoding of spot coordinates by sines and cosines."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

WAVELENGTHS_UM = (400.0, 800.0, 1600.0, 3200.0, 6400.0, 12800.0)  # from a few spots to the width of a capture area


class CoordinateEncoding(nn.Module):
    """Sines and cosines of x and y at several wavelengths, followed by a linear layer to ``n_out`` features.

    mclSTExp uses two lookup tables, whose rows stay random for positions absent from training. This encoding is defined
    everywhere, and nearby spots have similar codes.

    Raises
    ------
    ValueError
        There is no wavelength (in microns), or one is not positive.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> encoding = hq.nn.CoordinateEncoding(n_out=16, wavelengths_um=(200, 1000))
    >>> xy = torch.tensor([[0.0, 0], [1000, 0]])
    >>> encoding(xy, centre_um=xy.mean(dim=0)).shape
    torch.Size([2, 16])
    """

    wavelengths_um: Tensor

    def __init__(self, n_out: int, wavelengths_um: Sequence[float] = WAVELENGTHS_UM) -> None:
        super().__init__()
        if not wavelengths_um or min(wavelengths_um) <= 0:
            raise ValueError(f"Wavelengths must be positive numbers of microns, got {tuple(wavelengths_um)}.")
        self.register_buffer("wavelengths_um", torch.tensor(wavelengths_um, dtype=torch.get_default_dtype()))
        self.linear = nn.Linear(4 * len(wavelengths_um), n_out)

    def forward(self, xy_um: Tensor, centre_um: Tensor) -> Tensor:
        """Return (n_spots, n_out). xy_um: (n_spots, 2) microns; centre_um: (2,), middle of the whole section."""
        # far from the origin float32 microns would lose the phase, so centre before anything else
        phase = (xy_um - centre_um)[:, :, None] * (2 * torch.pi) / self.wavelengths_um  # (n_spots, 2, n_wavelengths)
        phase = phase.to(self.linear.weight.dtype)
        return self.linear(torch.cat([phase.sin(), phase.cos()], dim=2).flatten(1))
