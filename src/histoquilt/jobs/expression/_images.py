"""Sections with images for ``train`` and ``evaluate``: read, checked together, then embedded."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import DEFAULT_ENCODER, Keys, argument, either, is_samples_table
from histoquilt.jobs._annotations import AnnotationPlace
from histoquilt.jobs._inputs import NO_ANNOTATIONS, CheckedInputs, Needs, file_digests, leave_out, read_inputs
from histoquilt.jobs.expression._embed_one import (
    EmbedJob,
    check_image,
    embed_one,
    keys_of,
    without_genes,
    write_embedding,
)
from histoquilt.jobs.work._errors import JobError, about, one_line
from histoquilt.jobs.work._options import SectionsConfig, cache_option, comma_separated, one_or_more, option
from histoquilt.jobs.work._run import Run, joined
from histoquilt.runtime import Workers, logger, progress_bar, run_each

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True, kw_only=True)
class ImagedConfig(SectionsConfig):
    """Options of jobs that read sections with images."""

    encoder: str | Sequence[str] | None = option(
        None,
        "Image encoder: he_texture (the default), onnx:PATH, timm:NAME, hf-hub:NAME. Repeat it to use several.",
        metavar="NAME", repeatable=True,
    )  # fmt: skip
    field_um: str | float | Sequence[float] | None = option(
        None,
        "Widths of the fields around a spot, the single patch first; by default once, half, twice and four times the "
        "distance of the spots.",
        metavar="UM,UM",
    )
    use_rep: str | Sequence[str] | None = option(
        None, "Embeddings in obsm to use instead of an encoder.", metavar="KEY,KEY"
    )
    n_genes: int | None = option(
        None, "Genes by highest mean and by highest variance, each (default 200).", least=1, metavar="N"
    )
    cache: Path | None = cache_option()
    skip_bad: bool = option(False, "Skip inputs that cannot be used; run.json names them.")

    def __post_init__(self) -> None:
        """Also check the embeddings asked for."""
        super().__post_init__()
        if self.use_rep is not None and (self.encoder is not None or self.field_um is not None):
            other = argument("encoder" if self.encoder is not None else "field_um")
            raise JobError(
                f"{argument('use_rep')} takes embeddings that are there, and {other} makes new ones. Choose one."
            )
        self.fields()
        self.reps()

    def fields(self) -> list[float] | None:
        """Return the widths of the fields in microns, that of the single patch first; None for the default.

        Examples
        --------
        >>> ImagedConfig(field_um="200,100,400").fields()
        [200.0, 100.0, 400.0]
        """
        asked, name, fields = self.field_um, argument("field_um"), []
        if asked is None:
            return None
        for part in comma_separated([asked] if isinstance(asked, int | float) else asked, "field_um"):
            try:
                value = float(part)
            except ValueError:
                value = math.nan
            if not (math.isfinite(value) and value > 0):
                raise JobError(f"{name} is one or more widths in microns (200,100,400), got {part!r}.")
            fields.append(value)
        if len(set(fields)) < len(fields):
            raise JobError(f"{name} names a width twice: {asked}.")
        return fields

    def reps(self) -> list[str] | None:
        """Return the keys of the embeddings to use; None if images are to be embedded."""
        return None if self.use_rep is None else comma_separated(self.use_rep, "use_rep")


@dataclass
class ImagedSections(CheckedInputs):
    """Checked sections with the keys of their embeddings, or with how their images will be embedded."""

    reps: list[str] = field(default_factory=list)  # Keys of the embeddings in ``obsm``
    facts: dict[str, Any] = field(default_factory=dict)  # Encoder and fields, for ``run.json``
    n_columns: int = 0  # Columns of all embeddings
    embed_job: EmbedJob | None = None  # Settings of the embedding; None if the sections have their embeddings

    def embed(self, run: Run) -> None:
        """Embed every image; does nothing if embeddings were given.

        Raises
        ------
        JobError
            Images cannot be embedded; all are named.
        """
        if self.embed_job is None:
            return
        logger.info("Embedding the images of %d sections.", len(self.sections))
        with run.record.stage("embed"):
            items = {name: (without_genes(adata), name, self.embed_job) for name, adata in self.sections.items()}
            failed = {}
            shown = run.config.progress and run.workers is not None
            with progress_bar("Embedding sections", len(items), enabled=shown) as advance:
                for outcome in run_each(embed_one, items, workers=run.workers):
                    if outcome.error is not None:
                        failed[outcome.name] = one_line(outcome.error)
                    else:
                        write_embedding(self.sections[outcome.name], outcome.value)
                    advance(note=outcome.name)
            if failed:
                raise JobError(joined({name: failed[name] for name in self.sections if name in failed}) + ".")


def check_samples(path: Path) -> None:
    """Raise unless an input is an existing table of samples."""
    if not path.exists():
        raise JobError(f"{path} does not exist (looked in {path.absolute().parent}). Check the path.")
    if not is_samples_table(path):
        raise JobError(
            f"{path} is not a table of samples. Name the sections in a samples.csv: one row each, with the columns "
            f"section, counts, image, patient.{_advice_on_folder(path) if path.is_dir() else ''}"
        )


def _advice_on_folder(path: Path) -> str:
    from histoquilt.io import is_hest_task

    if is_hest_task(path):
        return f" It is a task of HEST-Bench: evaluate it with {argument('protocol', 'hest')}."
    study = either("histoquilt.jobs.describe_study", f"histoquilt study {path} --out samples.csv")
    return f" Of a public study, {study} writes that table."


def read_imaged(
    samples: Path,
    config: ImagedConfig,
    run: Run,
    *,
    device: str,
    cache: Path | None,
    least_sections: int,
    annotations: AnnotationPlace = NO_ANNOTATIONS,
    check: Callable[[dict[str, "AnnData"]], object] | None = None,
) -> ImagedSections:
    """Read sections and check them, their images and the encoder; no patch is cut yet.

    Raises
    ------
    JobError
        Sections or images cannot be used (all are named; with ``skip_bad`` only if too few are left), the encoder is
        unknown, or there are fewer than ``least_sections``. Also whatever ``check`` raises.
    """
    from histoquilt import im
    from histoquilt.study import Section, ordinary_zeros

    reps, names = config.reps(), one_or_more(config.encoder) or [DEFAULT_ENCODER]
    if run.workers is not None:
        # workers have another current folder
        samples, names = samples.absolute(), [_with_absolute_path(name) for name in names]
    loaded = [] if reps is not None else [im.get_encoder(name, device=device) for name in names]
    if len({one.digest for one in loaded}) < len(loaded):
        raise JobError(f"{argument('encoder')} names an encoder twice: {', '.join(names)}.")
    with run.record.stage("read"), ordinary_zeros():
        inputs = read_inputs(
            [samples], Needs(), skip_bad=config.skip_bad, options=config.reading(), annotations=annotations,
            workers=run.workers,
        )  # fmt: skip
        _drop_unusable(inputs, samples, config, run, least_sections)
        if check is not None:
            check(inputs.sections)
        if reps is None:
            images = {name: adata.uns[Keys.UNS][Keys.IMAGE]["path"] for name, adata in inputs.sections.items()}
            digests = file_digests((name, Path(path)) for name, path in images.items())
            inputs.digests += [{**entry, "what": "image"} for entry in digests]
    run.checked()
    if not loaded:
        first = next(iter(inputs.sections.values()))
        n_columns = sum(first.obsm[rep].shape[1] for rep in reps or [])
        return ImagedSections(**vars(inputs), reps=reps or [], facts={"use_rep": reps}, n_columns=n_columns)
    study = [Section(name, adata) for name, adata in inputs.sections.items()]
    fields = config.fields() or im.default_fields(*(section.nominal_pitch_um for section in study))
    encoders = loaded if run.workers is None else names
    of_encoders, bases = [one.digest for one in loaded], im.default_keys(loaded)
    shown = config.progress and run.workers is None
    job = EmbedJob(tuple(encoders), device, tuple(of_encoders), tuple(fields), tuple(bases), cache, shown)
    known: dict[str, list[str]] = {
        "encoder": [one.name for one in loaded],
        "encoder_digest": of_encoders,
        "encoder_device": [str(getattr(one, "device", "cpu")) for one in loaded],
    }
    facts: dict[str, Any] = {name: values[0] if len(loaded) == 1 else values for name, values in known.items()}
    facts["field_um"] = fields
    n_columns = len(fields) * sum(one.n_features for one in loaded)
    return ImagedSections(
        **vars(inputs), reps=keys_of(bases, fields), facts=facts, n_columns=n_columns, embed_job=job
    )  # fmt: skip


def _drop_unusable(inputs: CheckedInputs, samples: Path, config: ImagedConfig, run: Run, least_sections: int) -> None:
    """Drop sections without a usable image or embeddings; raise if they may not be left out, or too few remain."""
    reps = config.reps()
    if reps is not None:
        problems = _check_keys(inputs.sections, reps, samples)
    else:
        problems = _check_images(inputs.sections, samples, run.workers)
    leave_out(problems, len(inputs.sections), skip_bad=config.skip_bad)
    inputs.sections = {name: adata for name, adata in inputs.sections.items() if name not in problems}
    inputs.skipped |= problems
    if len(inputs.sections) < least_sections:
        raise JobError(
            f"{samples} has {len(inputs.sections)} usable section(s), and {least_sections} are needed: settings are "
            "chosen by leaving a section out. Add sections."
        )


def _check_images(sections: dict[str, "AnnData"], samples: Path, workers: Workers | None) -> dict[str, str]:
    """Return section -> problem with its image."""
    items, problems = {}, {}
    for name, adata in sections.items():
        subject = f"section {name!r} of {samples.name}"
        try:
            with about(subject):
                items[name] = (without_genes(adata), subject)
        except JobError as error:
            problems[name] = str(error)
    for outcome in run_each(check_image, items, workers=workers):
        if outcome.error is not None:
            problems[outcome.name] = one_line(outcome.error)
    return {name: problems[name] for name in sections if name in problems}


def _check_keys(sections: dict[str, "AnnData"], use_rep: Sequence[str], samples: Path) -> dict[str, str]:
    """Return section -> problem with its embeddings."""
    from histoquilt.study import Section

    problems = {}
    for name, adata in sections.items():
        try:
            with about(f"section {name!r} of {samples.name}"):
                for key in use_rep:
                    if key not in adata.obsm:
                        found = ", ".join(map(repr, adata.obsm)) or "nothing"
                        raise JobError(
                            f"{key!r} is not in its obsm (found: {found}). Name embeddings that all sections have."
                        )
                Section("", adata).embeddings(use_rep)
        except JobError as error:
            problems[name] = str(error)
    return problems


def _with_absolute_path(encoder: str) -> str:
    """Return the name of an encoder, with the absolute path of its file."""
    kind, colon, path = encoder.partition(":")
    return f"{kind}:{Path(path).expanduser().absolute()}" if colon and kind in ("onnx", "openvino") else encoder
