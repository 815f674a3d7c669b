"""What was run, on what, with what: the head and the foot of the page."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from anndata import AnnData

import histoquilt
from histoquilt._base import Keys
from histoquilt.report._how import model_record

_DETAILS = ("arguments", "inputs", "timings", "packages", "warnings")


@dataclass(frozen=True)
class Facts:
    """Facts of a run as text."""

    cards: list[tuple[str, str]]  # name, value: the head of the page
    warnings: list[str]
    inputs: list[tuple[str, str]]  # what was read, digest
    timings: list[tuple[str, str]]  # stage, seconds
    others: list[tuple[str, str]] = field(default_factory=list)


def run_facts(sections: Sequence[AnnData], run: Mapping[str, Any]) -> Facts:
    """Format the facts of a run as text; facts missing from ``run`` are read from the sections.

    Parameters
    ----------
    sections
        Sections of the page, for the number of spots, genes and domains, seed and time.
    run
        Contents of ``run.json``. No entry is required.
    """
    model = [model_record(adata)[1] for adata in sections]
    asked = [adata.uns.get(Keys.UNS, {}).get("domain", {}) for adata in sections]
    wall_s = _total([recorded.get("wall_s") for recorded in model])
    cards = [
        ("Spots", f"{sum(adata.n_obs for adata in sections):,}"),
        ("Genes", _span([adata.n_vars for adata in sections])),
        ("Domains", _one(run.get("n_domains"), [recorded.get("n_domains") for recorded in asked])),
        ("Seed", _one(run.get("seed"), [recorded.get("seed") for recorded in [*asked, *model]])),
    ]
    return told_facts(cards, run, wall_s=wall_s, told={"n_domains"})


def told_facts(
    cards: Sequence[tuple[str, str | None]], run: Mapping[str, Any], *, wall_s: Any = None, told: Set[str] = frozenset()
) -> Facts:
    """Format the facts of a run as text, after the given ``cards``; those in ``told`` are already among them."""
    wall_s = run.get("wall_s", wall_s)
    named = [
        *cards,
        ("Run time", None if wall_s is None else duration(float(wall_s))),
        ("Peak memory", None if run.get("peak_rss_mb") is None else f"{float(run['peak_rss_mb']) / 1024:.2f} GiB"),
        ("histoquilt", str(run.get("histoquilt", run.get("version", histoquilt.__version__)))),
    ]
    known = {"seed", "wall_s", "peak_rss_mb", "histoquilt", "version", "n_spots", "outputs", *_DETAILS, *told}
    others = [(str(key), _plain(value)) for key, value in run.items() if key not in known and value is not None]
    for key in ("arguments", "packages"):
        others += [(f"{key}: {name}", _plain(value)) for name, value in _pairs(run.get(key)) if value is not None]
    return Facts(
        cards=[(name, value) for name, value in named if value],
        warnings=[str(warning) for warning in _items(run.get("warnings"))],
        inputs=_inputs(run.get("inputs")),
        timings=[(str(stage), f"{float(seconds):.2f} s") for stage, seconds in _pairs(run.get("timings"))],
        others=others,
    )


def study_facts(study: AnnData, n_sections: int, run: Mapping[str, Any]) -> Facts:
    """Format the facts of a study as text: those of its joint analysis, which its sections only repeat."""
    facts = run_facts([study], run)
    return replace(facts, cards=[("Sections", f"{n_sections:,}"), *facts.cards])


def duration(seconds: float) -> str:
    """Return seconds in words.

    Examples
    --------
    >>> duration(8.25), duration(75), duration(7260)
    ('8.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _inputs(inputs: Any) -> list[tuple[str, str]]:
    """Read ``{path: digest}`` or ``[{"path", "sha256", ...}]`` or a list of paths."""
    if isinstance(inputs, Mapping):
        return [(str(path), _plain(digest)) for path, digest in inputs.items()]
    found = []
    for entry in _items(inputs):
        if isinstance(entry, Mapping):
            digest = next((entry[key] for key in ("sha256", "digest", "md5") if key in entry), "")
            found.append((str(entry.get("path", entry.get("section", ""))), str(digest)))
        else:
            found.append((str(entry), ""))
    return found


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _one(stated: Any, recorded: Sequence[Any]) -> str | None:
    values = [stated] if stated is not None else list(dict.fromkeys(v for v in recorded if v is not None))
    return ", ".join(map(str, values)) or None


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _total(seconds: Sequence[Any]) -> float | None:
    known = [float(value) for value in seconds if value is not None]
    return sum(known) if known else None
