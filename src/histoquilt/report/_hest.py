"""Page of tasks of HEST-Bench: the probe, our methods on its target, and published rows, quoted."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from histoquilt.report._encode import finite
from histoquilt.report._facts import facts_of
from histoquilt.report._render import write_page

if TYPE_CHECKING:  # evaluate loads torch, which a page does not need
    from histoquilt.evaluate import Evaluation

_OURS = {"pcc_median": "Median PCC", "pcc_median_adjusted": "At equal depth", "deviance_median": "Deviance explained"}
_SHOWN = {"tasks", "protocol", "methods", "seeds", "encoder", "encoder_digest"}  # entries of run.json shown elsewhere


def write_hest_report(
    path: str | os.PathLike[str],
    overview: pd.DataFrame,
    adjusted: pd.DataFrame,
    evaluations: Mapping[str, "Evaluation"],
    *,
    facts: Mapping[str, Any],
    title: str = "HEST-Bench",
) -> None:
    """Write an HTML report of tasks of HEST-Bench.

    Parameters
    ----------
    path
        Path of the file, written atomically; an existing file is replaced. Tasks of ``evaluations`` are linked as
        ``TASK/report.html``.
    overview, adjusted
        Results of :func:`histoquilt.evaluate.hest_overview`: as HEST-Bench scores, and at equal depth.
    evaluations
        Task -> our evaluation of its splits; tasks that allow none are missing.
    facts, title
        Contents of ``run.json``, with its ``tasks``, and headline of the page.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"method": "probe", "kind": "method", "encoder": "he_texture", "IDC": 0.4, "average": 0.4}
    >>> overview = pd.DataFrame([{**row, "average_adjusted": 0.3, "source": ""}])
    >>> task = {"n_spots": {"s1": 100, "s2": 90}, "patients": {"s1": "A", "s2": "B"}, "splits": ["0"], "dropped": {}}
    >>> task |= {"leaks": {}, "methods_left_out": ""}
    >>> facts = {"tasks": {"IDC": task}, "encoder": "he_texture", "seeds": [0]}
    >>> page = getfixture("tmp_path") / "report.html"
    >>> write_hest_report(page, overview, overview, {}, facts=facts)
    >>> "HEST-Bench" in page.read_text()
    True
    """
    tasks = [
        str(column)
        for column in overview
        if column not in ("method", "kind", "encoder", "average", "average_adjusted", "source")
    ]
    known: Mapping[str, Mapping[str, Any]] = facts["tasks"]
    cards = [
        ("Tasks", f"{len(tasks)}"),
        ("Sections", f"{sum(len(task['n_spots']) for task in known.values()):,}"),
        ("Spots", f"{sum(sum(task['n_spots'].values()) for task in known.values()):,}"),
        ("Encoder", str(facts["encoder"])),
        ("Seeds", ", ".join(map(str, facts["seeds"]))),
    ]
    write_page(
        path,
        "_hest.html",
        "_prediction.js",
        title=title,
        links={f"Evaluation of {task}": f"{quote(task)}/report.html" for task in evaluations},
        tasks=tasks,
        tables=[
            {"title": "Mean correlation with log1p of raw counts", "rows": _rows(overview, tasks)},
            {"title": "The same at equal depth", "rows": _rows(adjusted, tasks)},
        ],
        source=", ".join(dict.fromkeys(overview.loc[overview["kind"] == "quoted", "source"])),
        undefined=bool(overview.loc[overview["kind"] != "quoted", tasks].isna().any(axis=None)),
        ours=[_our_rules(task, evaluation) for task, evaluation in evaluations.items()],
        columns=_OURS,
        known=[{"name": task, **_about(known[task])} for task in tasks],
        facts=facts_of(cards, facts, shown=_SHOWN),
    )


def _rows(table: pd.DataFrame, tasks: list[str]) -> list[dict[str, Any]]:
    return [
        {
            **{name: row[name] for name in ("method", "kind", "encoder")},
            "values": [finite(row[column]) for column in ("average", *tasks)],
        }
        for row in table.to_dict("records")
    ]


def _our_rules(task: str, evaluation: "Evaluation") -> dict[str, Any]:
    table = evaluation.summary()
    rows = [
        {"method": name, "kind": row["kind"], "values": [finite(row[column]) for column in _OURS]}
        for name, row in table.iterrows()
    ]
    return {"task": task, "rows": rows, "n_sections": int(table["n"].max())}


def _about(task: Mapping[str, Any]) -> dict[str, Any]:
    patients = list(task["patients"].values())
    n_known = sum(patient is not None for patient in patients)
    return {
        "n_sections": len(task["n_spots"]),
        "n_spots": sum(task["n_spots"].values()),
        "n_splits": len(task["splits"]),
        "n_without_patch": sum(one["n_without_patch"] for one in task["dropped"].values()),
        "n_without_spot": sum(one["n_without_spot"] for one in task["dropped"].values()),
        "patients": f"{len({*patients} - {None})}" if n_known == len(patients) else f"known for {n_known} sections",
        "leaks": "; ".join(f"split {split}: {', '.join(names)}" for split, names in task["leaks"].items()),
        "note": task["methods_left_out"],
    }
