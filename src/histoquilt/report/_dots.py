"""Scores of methods as SVG text: a faint dot a section, the mean with its interval; coloured by the page's style."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from histoquilt.report._curve import round_ticks

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 760, 190, 62, 8, 26, 40


def dots_svg(rows: Sequence[Mapping[str, Any]], *, label: str) -> Markup:
    """Draw one row a method.

    Parameters
    ----------
    rows
        ``method``, ``kind`` (``method``, ``baseline``, ``oracle``), ``mean``, ``low``, ``high`` (not finite where there
        is no interval), and ``sections``: the values of single sections.
    label
        Name of the axis, also for screen readers.

    Returns
    -------
    An ``<svg>`` element; nothing where there is no row.
    """
    if not rows:
        return Markup("")
    every = np.array([v for row in rows for v in (*row["sections"], row["mean"], row["low"], row["high"], 0.0)], float)
    every = every[np.isfinite(every)]
    low, high = float(every.min()), max(float(every.max()), float(every.min()) + 0.01)
    ticks = round_ticks(low, high)
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def across(x: float) -> str:
        return f"{_LEFT + (x - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT):.1f}"

    foot = _TOP + _ROW * len(rows)
    parts = [f'<svg class="dots" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for tick in ticks:
        x = across(float(tick))
        parts.append(f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{foot}"/>')
        parts.append(f'<text class="soft" x="{x}" y="{foot + 16}" text-anchor="middle">{tick:.3g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="soft" x="{middle}" y="{height - 6}" text-anchor="middle">{escape(label)}</text>')
    for place, row in enumerate(rows):
        y, kind = _TOP + _ROW * (place + 0.5), escape(row["kind"])
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(row["method"])}</text>')
        parts += [f'<circle class="{kind} faint" cx="{across(v)}" cy="{y:.1f}" r="3.5"/>' for v in row["sections"]]
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            ends = f'x1="{across(row["low"])}" x2="{across(row["high"])}" y1="{y:.1f}" y2="{y:.1f}"'
            parts.append(f'<line class="{kind}" stroke-width="2" {ends}/>')
        parts.append(f'<circle class="{kind}" cx="{across(row["mean"])}" cy="{y:.1f}" r="5.5"/>')
        parts.append(f'<text class="soft" x="{_WIDTH - _RIGHT + 14}" y="{y + 4:.1f}">{row["mean"]:.3f}</text>')
    return Markup("".join([*parts, "</svg>"]))
