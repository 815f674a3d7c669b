"""Facts of a run as text, for the head and the foot of a page."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from anndata import AnnData

import histoquilt
from histoquilt._base import Keys
from histoquilt.draw import model_record

_DETAILS = ("arguments", "inputs", "timings", "packages", "warnings")


def run_facts(sections: Sequence[AnnData], run: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Format the facts of a run as text; facts missing from ``run`` are read from the sections."""
    model = [model_record(adata)[1] for adata in sections]
    domain = [adata.uns.get(Keys.UNS, {}).get("domain", {}) for adata in sections]
    seconds = [float(recorded["wall_s"]) for recorded in model if recorded.get("wall_s") is not None]
    cards = [
        ("Spots", f"{sum(adata.n_obs for adata in sections):,}"),
        ("Genes", span(adata.n_vars for adata in sections)),
        ("Domains", _stated(run.get("n_domains"), [recorded.get("n_domains") for recorded in domain])),
        ("Seed", _stated(run.get("seed"), [recorded.get("seed") for recorded in [*domain, *model]])),
    ]
    return facts_of(cards, {"wall_s": sum(seconds) if seconds else None, **run}, shown={"n_domains"})


def facts_of(
    cards: Sequence[tuple[str, str | None]], run: Mapping[str, Any], *, shown: Set[str] = frozenset()
) -> dict[str, list[Any]]:
    """Format the facts of a run as lists of pairs of text, and of warnings.

    ``cards`` are first facts of the page (empty ones are dropped); ``shown`` are entries of ``run`` shown elsewhere.
    """
    wall_s, memory_mb = run.get("wall_s"), run.get("peak_rss_mb")
    cards = [
        *cards,
        ("Run time", None if wall_s is None else duration(float(wall_s))),
        ("Peak memory", None if memory_mb is None else f"{float(memory_mb) / 1024:.2f} GiB"),
        ("histoquilt", str(run.get("histoquilt", run.get("version", histoquilt.__version__)))),
    ]
    known = {
        "seed",
        "wall_s",
        "peak_rss_mb",
        "histoquilt",
        "version",
        "n_spots",
        "outputs",
        "annotation",
        *_DETAILS,
        *shown,
    }
    others = [(str(key), _plain(value)) for key, value in run.items() if key not in known and value is not None]
    for key in ("arguments", "packages"):
        others += [(f"{key}: {name}", _plain(value)) for name, value in _pairs(run.get(key)) if value is not None]
    return {
        "cards": [(name, value) for name, value in cards if value],
        "warnings": [str(warning) for warning in _items(run.get("warnings"))],
        "inputs": _inputs(run.get("inputs")),
        "timings": [(str(stage), f"{float(seconds):.2f} s") for stage, seconds in _pairs(run.get("timings"))],
        "others": others,
    }


def duration(seconds: float) -> str:
    """Return seconds in words.

    >>> duration(8.25), duration(75), duration(7260)
    ('8.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def span(numbers: Iterable[float]) -> str:
    """Return the range of whole numbers as text, or the only one."""
    every = [int(number) for number in numbers]
    low, high = min(every), max(every)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _inputs(inputs: Any) -> list[tuple[str, str]]:
    """Read ``{path: digest}`` or ``[{"path", "sha256", ...}]`` or a list of paths."""
    if isinstance(inputs, Mapping):
        return [(str(path), _plain(digest)) for path, digest in inputs.items()]
    pairs = []
    for entry in _items(inputs):
        if isinstance(entry, Mapping):
            digest = next((entry[key] for key in ("sha256", "digest", "md5") if key in entry), "")
            pairs.append((str(entry.get("path", entry.get("section", ""))), str(digest)))
        else:
            pairs.append((str(entry), ""))
    return pairs


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _items(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value or [])


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _stated(stated: Any, recorded: Sequence[Any]) -> str | None:
    values = [stated] if stated is not None else list(dict.fromkeys(v for v in recorded if v is not None))
    return ", ".join(map(str, values)) or None
