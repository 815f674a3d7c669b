"""Categorical colours that people with a colour vision deficiency can distinguish."""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import pandas as pd
from anndata import AnnData

from histoquilt._base import listed

UNLABELLED = "#d9d9d9"
"""Grey of spots without a domain."""

# Seven colours of Okabe and Ito (2008) without black, which looks like tissue on a stained image. Others were added one
# by one: the sRGB colour (chroma below 72, CIE L* 18-90) with the largest minimum CIELAB distance to all before it, to
# white and grey, in normal vision and the three dichromacies of Machado et al. (2009, severity 1.0). The order makes
# colours i, i + 1 and i + 2 differ most, since domains are numbered by position. tests/pl/test_palette.py checks.
_COLORS = (
    "#0072b2", "#e69f00", "#56b4e9", "#d55e00", "#cc79a7", "#f0e442", "#009e73", "#3c2d00",
    "#87b45a", "#a5e1ff", "#0f1e87", "#3cd287", "#9687ff", "#4b2d78", "#96003c", "#b4b4d2",
    "#a53c78", "#4bffa5", "#f03c69", "#695ad2", "#d2a5a5", "#875a2d", "#b4f078", "#69004b",
)  # fmt: skip


def domain_palette(n: int) -> list[str]:
    """Return colours for ``n`` domains; colour ``i`` does not depend on ``n``.

    The first 24 can be distinguished in deuteranopia, protanopia and tritanopia: any two differ by a CIELAB distance
    of at least 13, neighbours in the list by at least 26. The next 24 are mixed with white, then with black; from 72 on
    colours repeat.

    Parameters
    ----------
    n
        Number of colours; a negative one raises ``ValueError``.

    Returns
    -------
    Hexadecimal sRGB colours.

    References
    ----------
    Okabe, Ito (2008), Color Universal Design. Machado, Oliveira, Fernandes (2009), doi:10.1109/TVCG.2009.113.

    Examples
    --------
    >>> domain_palette(3)
    ['#0072b2', '#e69f00', '#56b4e9']
    """
    if n < 0:
        raise ValueError(f"A palette has 0 or more colours, got {n}. Pass the number of domains.")
    lighter = [_mix(color, 255, 0.5) for color in _COLORS]
    darker = [_mix(color, 0, 0.4) for color in _COLORS]
    return list(islice(cycle([*_COLORS, *lighter, *darker]), n))


def color_shades(color: str, n: int) -> list[str]:
    """Return ``n`` shades of a colour, from dark to light; a single one is the colour itself.

    Names of matplotlib are colours, too.

    >>> color_shades("#0072b2", 2)
    ['#004a74', '#80b8d8']
    """
    from matplotlib.colors import to_hex

    if n == 1:
        return [to_hex(color)]
    depths = [-0.35 + 0.85 * i / (n - 1) for i in range(n)]
    return [_mix(to_hex(color), 255 if depth > 0 else 0, abs(depth)) for depth in depths]


def _mix(color: str, with_level: int, share: float) -> str:
    """Mix a colour with white (255) or black (0)."""
    levels = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(level * (1 - share) + with_level * share):02x}" for level in levels)


def domain_colors(adata: AnnData, key: str, palette: Sequence[str] | Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the colour of each category of ``obs[key]``.

    Parameters
    ----------
    adata, key
        AnnData and column of ``obs``; not changed. Colours in ``uns[f"{key}_colors"]``, where scanpy stores them, are
        used if there is one for each category.
    palette
        Colours in the order of the categories, or a dict from category to colour, instead of the stored ones.

    Returns
    -------
    dict from category (as text) to colour, in the order of the categories.

    Raises
    ------
    ValueError
        ``palette`` has too few colours or misses a category.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.pl.domain_colors(adata, "domain_true")
    {'island1': '#0072b2', 'layer1': '#e69f00', 'layer2': '#56b4e9'}
    """
    names = as_categories(adata, key).categories.tolist()
    if isinstance(palette, Mapping):
        missing = [name for name in names if name not in palette]
        if missing:
            raise ValueError(
                f"palette has no colour for {listed(missing)} of adata.obs[{key!r}]. It has colours for: "
                f"{listed(palette)}. Add the missing ones."
            )
        return {name: palette[name] for name in names}
    if palette is not None:
        if len(palette) < len(names):
            raise ValueError(
                f"palette has {len(palette)} colours, but adata.obs[{key!r}] has {len(names)} categories. "
                "Pass one colour each, or leave palette out."
            )
        return dict(zip(names, palette, strict=False))
    stored = adata.uns.get(f"{key}_colors")
    has_all = stored is not None and len(stored) == len(names)
    return dict(zip(names, map(str, stored) if has_all else domain_palette(len(names)), strict=True))


def as_categories(adata: AnnData, key: str) -> pd.Categorical:
    """Return ``obs[key]`` as a categorical of text; whole numbers are sorted as numbers unless already categorical.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.study import as_categories
    >>> adata = AnnData(obs=pd.DataFrame({"domain": [10, 2, 2]}, index=list("abc")))
    >>> list(as_categories(adata, "domain").categories)
    ['2', '10']
    """
    column = adata.obs[key]
    is_declared = isinstance(column.dtype, pd.CategoricalDtype)
    values = column.array if is_declared else pd.Categorical(column)
    # whole numbers with missing values are floats: 1.0 is named '1'
    names = [str(int(name) if isinstance(name, float) and name.is_integer() else name) for name in values.categories]
    result = pd.Categorical.from_codes(values.codes, categories=pd.Index(names, dtype=object))
    if is_declared or not all(name.isdigit() for name in names):
        return result
    return result.reorder_categories(sorted(names, key=int))
