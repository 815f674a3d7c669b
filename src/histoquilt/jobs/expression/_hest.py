"""Tasks of HEST-Bench: read, checked for leaks, embedded from their patches, evaluated, and joined in one table."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import DEFAULT_ENCODER, Keys, argument, listed, visible
from histoquilt.jobs._inputs import file_digests
from histoquilt.jobs.expression._evaluate import EvaluateConfig, EvaluateResult, write_evaluation
from histoquilt.jobs.work._errors import JobError, about, one_line
from histoquilt.jobs.work._options import one_or_more
from histoquilt.jobs.work._output import check_out
from histoquilt.jobs.work._record import sha256
from histoquilt.jobs.work._run import OnChecked, Run, start_run
from histoquilt.runtime import logger, warn_user

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from histoquilt._base import PatchEncoder
    from histoquilt.evaluate import Evaluation
    from histoquilt.io import HestTask
    from histoquilt.train import Split

_WRITTEN = ("hest.csv", "table.csv", "report.html", "run.json")  # beside a folder for each task
_SHARED = 0.01  # share of the patches of a section that may be those of another, e.g. of folded glass
# of a task all of this is given
_NOT_FOR_TASKS = (
    "field_um", "use_rep", "n_genes", "leave_out", "splits", "markers", "annotations", "annotations_scale", "dask",
    "keep_all_spots", "spatial_columns", "table", "counts_file", "one_section", "bin_size",
)  # fmt: skip


@dataclass
class _Checked:
    """A task without fault, and what is known of its patients."""

    task: "HestTask"
    patients: dict[str, str | None]  # section -> patient, None if it is not known
    sections: dict[str, "AnnData"]  # sections as read; empty if those of several tasks would fill the memory
    leaks: dict[str, list[str]] = field(default_factory=dict)  # split -> patients on both sides

    def splits(self) -> "list[Split]":
        """Return the splits of the task; one with a patient on both sides is optimistic."""
        from histoquilt.train import Split

        return [Split(number, *sides, optimistic=number in self.leaks) for number, sides in self.task.splits.items()]


def evaluate_tasks(folder: Path, out: Path, asked: EvaluateConfig, on_checked: OnChecked | None) -> EvaluateResult:
    """Evaluate the task in a folder, or with ``all`` those in its subfolders; see :func:`evaluate_models`."""
    _check_options(asked)
    with about(folder):
        tasks = _folders_of_tasks(folder, every=asked.all)
    check_out(out, overwrite=asked.overwrite, inputs=[folder, *([asked.gmt] if asked.gmt else [])])
    with start_run("evaluate", {"samples": folder, "out": out}, asked, on_checked) as run:
        with run.record.stage("import"):
            from histoquilt import im
            from histoquilt.evaluate import hest_overview, new_model
            from histoquilt.report import write_hest_report
            from histoquilt.runtime import resolve_device
            from histoquilt.study import ordinary_zeros

            has_network = any(new_model(name).has_network for name in asked.method_names())
            device = str(resolve_device(asked.device, sparse=has_network))
            encoder = im.get_encoder((one_or_more(asked.encoder) or [DEFAULT_ENCODER])[0], device=asked.device)
        with run.record.stage("read"), ordinary_zeros():
            checked, skipped = _check_all(tasks, asked)
            inputs = [entry for one in checked for entry in _digests(one.task)]
            if asked.gmt is not None:
                inputs.append({"path": str(asked.gmt), "sha256": sha256(asked.gmt)})
        run.checked()
        tables: dict[str, pd.DataFrame] = {}
        evaluations: dict[str, Evaluation] = {}
        facts: dict[str, Any] = {}
        with run.results() as results:
            for one in checked:
                name = one.task.name
                logger.info("%s: %d sections, %d splits.", name, len(one.task.counts), len(one.task.splits))
                with ordinary_zeros():
                    tables[name], evaluation, facts[name] = _evaluate(one, encoder, device, asked, run)
                if evaluation is not None:
                    evaluations[name] = evaluation
                    (results / name).mkdir()
                    write_evaluation(results / name, evaluation, run, facts[name])
            overview = hest_overview(tables, encoder.name)
            _rows(tables).to_csv(results / "hest.csv", index=False)
            overview.to_csv(results / "table.csv", index=False)
            shared = {
                "protocol": asked.protocol, "methods": asked.method_names(), "seeds": asked.all_seeds(),
                "encoder": encoder.name, "encoder_digest": encoder.digest, "tasks": facts, "skipped": skipped,
                "inputs": inputs,
            }  # fmt: skip
            write_hest_report(
                results / "report.html", overview, hest_overview(tables, encoder.name, "pcc_mean_adjusted"),
                evaluations, facts=run.facts(**shared),
            )  # fmt: skip
            record = run.finish(results, shared)
    only = next(iter(evaluations.values())) if len(checked) == 1 and evaluations else None
    return EvaluateResult(out, record, evaluation=only, hest=overview)


def _check_options(asked: EvaluateConfig) -> None:
    """Raise for options that a task of HEST-Bench leaves no choice of."""
    defaults = {one.name: one.default for one in fields(asked)}
    given = [argument(name) for name in _NOT_FOR_TASKS if getattr(asked, name) != defaults[name]]
    if given:
        raise JobError(
            f"a task of HEST-Bench has its own genes, splits and patches of 112 um, so {', '.join(given)} cannot be "
            "given. Leave it out."
        )
    if len(one_or_more(asked.encoder)) > 1:
        raise JobError(f"HEST-Bench judges one image encoder at a time; give {argument('encoder')} once.")


def _folders_of_tasks(folder: Path, *, every: bool) -> list[Path]:
    from histoquilt.io import is_hest_task

    if not folder.is_dir():
        raise JobError(f"{folder} is no folder. Name that of a task of HEST-Bench, or of several.")
    inside = sorted(path for path in visible(folder) if is_hest_task(path))
    if every:
        if not inside:
            raise JobError(f"{folder} holds no folder of a HEST-Bench task (with splits/ and var_50genes.json).")
        return inside
    if inside and not is_hest_task(folder):
        raise JobError(
            f"{folder} holds {len(inside)} tasks ({listed([path.name for path in inside], 3)}). Name one of them, or "
            f"add {argument('all', True)}."
        )
    return [folder]


def _check_all(folders: list[Path], asked: EvaluateConfig) -> tuple[list[_Checked], dict[str, str]]:
    """Read every section, so that a long run does not fail at its last task."""
    from histoquilt.io import read_hest_task

    checked, problems = [], {}
    for folder in folders:
        name = folder.resolve().name
        try:
            with about(name):
                checked.append(_check(read_hest_task(folder), asked, keep=len(folders) == 1))
        except JobError as error:
            if not (asked.all and asked.skip_bad):
                raise
            problems[name] = one_line(error)
            warn_user(f"left out: {problems[name]}")
    if not checked:
        raise JobError(f"no task can be used: {'; '.join(problems.values())}")
    return checked, problems


def _check(task: "HestTask", asked: EvaluateConfig, *, keep: bool) -> _Checked:
    from histoquilt.evaluate import check_sections
    from histoquilt.io import patch_digests, read_hest_section
    from histoquilt.study import DEFAULT_SLOTS, Section, Study
    from histoquilt.tl import labelled_sections

    if task.name in _WRITTEN:
        raise JobError(f"a task cannot be called {task.name}, like a file that is written. Rename its folder.")
    patients: dict[str, str | None] = {}
    sections: list[Section] = []
    digests: dict[str, set[bytes]] = {}
    labelled = False
    for name in task.counts:
        adata = read_hest_section(task, name)
        section = Section(name, adata)
        sections.append(section)
        if section.expression.scale != "counts":
            raise JobError(f"{task.counts[name]} has no raw counts; HEST-Bench scores log1p of raw counts.")
        section.microns  # noqa: B018  # raises if they are not known
        patients[name] = section.value(Keys.PATIENT)
        digests[name] = patch_digests(task.patches[name], adata.obs["patch"].to_numpy())
        labelled = labelled or _has_labels({name: adata}, asked.label_key)
    if asked.label_key is not None and not labelled:
        labelled_sections({name: adata}, asked.label_key)  # raises, and says what there is
    found = _Checked(task, patients, {section.name: section.adata for section in sections if keep})
    for number, (train, test) in task.splits.items():
        for one in train:
            for other in test:
                _check_patches(task, number, (one, other), digests)
        both = sorted({patients[name] for name in train} & {patients[name] for name in test} - {None})  # type: ignore[type-var]
        if both:
            found.leaks[number] = [str(patient) for patient in both]
            warn_user(
                f"{task.name}: split {number} leaks: {Keys.PATIENT} {listed(both)} is in training "
                f"({listed([name for name in train if patients[name] in both])}) and in test "
                f"({listed([name for name in test if patients[name] in both])}). Its scores are optimistic."
            )
    check_sections(found.splits(), Study(sections, DEFAULT_SLOTS), patients)
    return found


def _check_patches(task: "HestTask", number: str, pair: tuple[str, str], digests: Mapping[str, set[bytes]]) -> None:
    one, other = pair
    n_shared, n_least = len(digests[one] & digests[other]), min(len(digests[name]) for name in pair)
    if n_shared > _SHARED * n_least:
        raise JobError(
            f"split {number} leaks: {n_shared} patches of {one!r} (in training) and {other!r} (in test) are identical, "
            f"so they are the same tissue. Remove one of them from splits/*_{number}.csv."
        )


def _evaluate(
    one: _Checked, encoder: "PatchEncoder", device: str, asked: EvaluateConfig, run: Run
) -> tuple["pd.DataFrame", "Evaluation | None", dict[str, Any]]:
    """Return the rows of HEST-Bench, our evaluation if the splits allow one, and facts."""
    import pandas as pd

    from histoquilt import tl
    from histoquilt.evaluate import hest_table
    from histoquilt.study import Section

    task = one.task
    with run.record.stage("embed"):
        sections, key = _embedded(one, encoder, asked)
    splits = one.splits()
    facts: dict[str, Any] = {
        "n_spots": {name: adata.n_obs for name, adata in sections.items()},
        "dropped": {name: dict(adata.uns[Keys.UNS]["patches"]) for name, adata in sections.items()},
        "splits": {split.fold: {"train": split.train, "test": split.test} for split in splits},
        "patients": one.patients,
        "leaks": one.leaks,
        "methods_left_out": "",
    }
    alone = [split.fold for split in splits if len(split.train) < 2]
    with run.record.stage("evaluate"):
        if alone:
            facts["methods_left_out"] = (
                f"split {listed(alone)} trains on one section; our methods choose settings on a left-out one"
            )
            logger.info("%s: only the probe is run: %s.", task.name, facts["methods_left_out"])
            named = {name: Section(name, adata) for name, adata in sections.items()}
            return pd.concat([hest_table(named, split, task.genes, key) for split in splits]), None, facts
        evaluation = tl.evaluate_expression(
            sections, asked.method_names(), use_rep=key, splits=splits, seeds=asked.all_seeds(), device=device,
            genes=task.genes, protocol="hest", gmt=asked.gmt, progress=asked.progress,
            label_key=asked.label_key if _has_labels(sections, asked.label_key) else None,
        )  # fmt: skip
    return evaluation.hest, evaluation, facts


def _has_labels(sections: Mapping[str, "AnnData"], key: str | None) -> bool:
    return key is not None and any(key in adata.obs for adata in sections.values())


def _embedded(one: _Checked, encoder: "PatchEncoder", asked: EvaluateConfig) -> tuple[dict[str, "AnnData"], str]:
    """Return the sections with embeddings of their patches, and the key of these."""
    from histoquilt import im
    from histoquilt.io import HEST_FIELD_UM, open_hest_patches, read_hest_section

    [key], sections = im.default_keys([encoder]), {}
    logger.info("%s: embedding the patches of %d sections.", one.task.name, len(one.task.counts))
    for name in one.task.counts:
        adata = one.sections.pop(name) if name in one.sections else read_hest_section(one.task, name)
        with open_hest_patches(one.task.patches[name]) as patches:
            im.embed_cut_patches(
                adata, patches, field_um=HEST_FIELD_UM, encoder=encoder, rows=adata.obs["patch"].to_numpy(),
                cache=asked.cache, progress=asked.progress,
            )  # fmt: skip
        # a section of an unknown patient counts as one of its own: the authors of the splits held out patients
        adata.obs[Keys.PATIENT] = one.patients[name] or f"patient of {name}"
        sections[name] = adata
    return sections, key


def _rows(tables: Mapping[str, "pd.DataFrame"]) -> "pd.DataFrame":
    import pandas as pd

    return pd.concat([table.assign(task=task) for task, table in tables.items()]).pipe(
        lambda rows: rows[["task", *rows.columns.drop("task")]]
    )


def _digests(task: "HestTask") -> list[dict[str, Any]]:
    files = [(name, path) for known in (task.counts, task.patches) for name, path in known.items()]
    files += [
        (task.name, path) for path in [task.folder / "var_50genes.json", *sorted(task.folder.glob("splits/*.csv"))]
    ]
    return file_digests(files)
