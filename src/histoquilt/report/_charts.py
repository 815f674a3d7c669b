"""Charts as SVG: curves, and scores of methods. Matplotlib draws them, the style sheet of the page colours them."""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# what is drawn in a colour gets that of the page, which differs in the dark
_OF_PAGE = {"#0b62a4": "accent", "#c05a00": "second", "#5c6776": "soft", "#dfe3e8": "line", "#1b2430": "ink"}
_ACCENT, _SECOND, _SOFT, _LINE, _INK = _OF_PAGE
_KINDS = {"method": _ACCENT, "baseline": _SOFT, "oracle": _SECOND}
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "histoquilt", "font.family": ["sans-serif"], "font.size": 8}


def curve_svg(
    lines: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    label: str,
    log: bool = False,
    x_label: str = "epoch",
    level: float | None = None,
    mark: float | None = None,
) -> Markup:
    """Draw a line chart as SVG, with lines ``(x, y)`` on common axes.

    ``label`` describes the chart to screen readers; ``level`` is the height of a dotted line, ``mark`` the place of a
    vertical one, with which every point gets a dot. Values that cannot be drawn leave a gap at the ends.
    """
    if not any(_drawable(y, log).any() for _, y in lines):
        return Markup("")
    return _as_svg(curve_figure(lines, log=log, x_label=x_label, level=level, mark=mark), label, "curve")


def curve_figure(
    lines: Sequence[tuple[np.ndarray, np.ndarray]], *, log: bool, x_label: str, level: float | None, mark: float | None
) -> "Figure":
    """Return the figure of :func:`curve_svg`."""
    figure, axes = _blank(4.2, 2.1)
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    if log:
        axes.set_yscale("log")
    if level is not None:
        axes.axhline(level, color=_SOFT, linewidth=1, linestyle=":")
    if mark is not None:
        axes.axvline(mark, color=_INK, linewidth=1)
    for number, (x, y) in enumerate(lines):
        good = _drawable(y, log)
        if mark is None:  # several runs look alike; different measures, which have dots, do not
            axes.plot(x[good], y[good], color=_ACCENT, linewidth=1.4)
        else:
            color, dashes = ((_SECOND, "--"), (_ACCENT, "-"))[number]
            axes.plot(x[good], y[good], color=color, linestyle=dashes, marker="o", markersize=4, linewidth=1.4)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(x_label, color=_SOFT)
    return figure


def dots_svg(rows: Sequence[Mapping[str, Any]], *, label: str) -> Markup:
    """Draw the scores of methods as SVG, one row each: a faint dot per section, the mean with its interval.

    Rows have ``method``, ``kind`` (``method``, ``baseline``, ``oracle``), ``mean``, ``low``, ``high`` (NaN without an
    interval), and ``sections``, the values of single sections. ``label`` names the axis.
    """
    return _as_svg(dots_figure(rows, label=label), label, "dots") if rows else Markup("")


def dots_figure(rows: Sequence[Mapping[str, Any]], *, label: str) -> "Figure":
    """Return the figure of :func:`dots_svg`."""
    figure, axes = _blank(7.2, 0.5 + 0.26 * len(rows))
    axes.grid(axis="x", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for height, row in enumerate(rows):
        color = _KINDS[row["kind"]]
        axes.plot(row["sections"], [height] * len(row["sections"]), "o", color=color, alpha=0.4, markersize=5, mew=0)
        axes.plot([row["low"], row["high"]], [height] * 2, color=color, linewidth=2)
        axes.plot(row["mean"], height, "o", color=color, markersize=8)
        axes.annotate(
            f"{row['mean']:.3f}", (1, height), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", color=_SOFT, fontsize=8,
        )  # fmt: skip
    axes.axvline(0, color=_LINE, linewidth=0.8)
    axes.set_yticks(range(len(rows)), [str(row["method"]) for row in rows], color=_INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(label, color=_SOFT)
    return figure


def _drawable(y: np.ndarray, log: bool) -> np.ndarray:
    return np.isfinite(y) & ((y > 0) if log else True)


def _blank(width: float, height: float) -> tuple["Figure", Any]:
    """Return a figure in inches and axes without a frame."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, colors=_SOFT)
    return figure, axes


def _as_svg(figure: "Figure", label: str, kind: str) -> Markup:
    """Return a figure as an SVG element of a page: without a size of its own, in the colours of the page."""
    from matplotlib import rc_context

    buffer = StringIO()
    with rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg ") :]
    opening, rest = text.split(">", 1)
    box = re.search(r'viewBox="[^"]+"', opening)
    # a style would be that of the whole page; nothing is drawn outside the axes, so nothing is clipped
    rest = re.sub(r"<(metadata|style).*?</\1>|<!--.*?-->| clip-path=\"[^\"]+\"", "", rest, flags=re.DOTALL)
    rest = re.sub(r'<g id="[^"]*"', "<g", rest)  # names that several charts of a page would share
    rest = re.sub(r"font-family: [^;\"]+", "font-family: inherit", rest)
    for color, name in _OF_PAGE.items():
        rest = rest.replace(color, f"var(--{name})")
    rest = rest.replace("xlink:href", "href")
    return Markup(f'<svg class="{kind}" role="img" aria-label="{escape(label)}" {box[0] if box else ""}>{rest}')
