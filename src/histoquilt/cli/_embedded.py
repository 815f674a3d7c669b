"""A study with images: read, checked as a whole, then embedded, for ``train`` and ``evaluate``."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import DEFAULT_READ_OPTIONS, Keys, ReadOptions
from histoquilt.cli._console import Console
from histoquilt.cli._embed_one import Wanted, check_one, embed_one, keys_of, place, take
from histoquilt.cli._errors import CommandError, about, one_line
from histoquilt.cli._inputs import read_inputs
from histoquilt.cli._record import RunRecord, sha256
from histoquilt.runtime import Workers, progress_bar, run_each

if TYPE_CHECKING:
    from anndata import AnnData

DEFAULT_ENCODER = "he_texture"
LEAST_FIELD_UM = 50.0  # bins and cells lie nearer to each other than tissue can be told from
MULTIPLES = (1.0, 0.5, 2.0, 4.0)  # of the pitch; the first is the one field of single-patch methods


@dataclass
class ImagedStudy:
    """Sections that were read and checked, and what their images are embedded by."""

    sections: dict[str, "AnnData"]
    reps: list[str]  # keys of the embeddings
    digests: list[dict[str, Any]]
    skipped: dict[str, str]
    facts: dict[str, Any]  # encoder and fields, for run.json
    wanted: Wanted | None  # None where the sections have their embeddings

    def embed(self, record: RunRecord, workers: Workers | None, *, progress: bool) -> None:
        """Embed every image, with ``workers`` there; does nothing where embeddings were given.

        Raises
        ------
        CommandError
            Images cannot be embedded; all of them are named.
        """
        if self.wanted is not None:
            with record.stage("embed"):
                _embed(self.sections, self.wanted, workers, progress=progress)


def read_imaged(
    samples: Path,
    *,
    use_rep: Sequence[str] | None,
    encoder: str | None,
    device: str,
    field_um: Sequence[float] | None,
    cache: Path | None,
    skip_bad: bool,
    least_sections: int,
    check: Callable[[dict[str, "AnnData"]], object] | None = None,
    record: RunRecord,
    console: Console,
    progress: bool,
    options: ReadOptions = DEFAULT_READ_OPTIONS,
    workers: Workers | None = None,
) -> ImagedStudy:
    """Read a study; sections, images and encoder are all checked, and no patch is cut yet.

    With ``workers``, sections are read and checked there, one on each at a time.

    Raises
    ------
    CommandError
        Sections or images cannot be used (all of them are named; with ``skip_bad`` only where too few are left), the
        encoder is unknown, or there are fewer than ``least_sections``. Whatever ``check`` raises of the sections.
    """
    from histoquilt import im
    from histoquilt.im import short_name

    if workers is not None:
        samples, encoder = samples.absolute(), _with_whole_path(encoder)  # they have no current folder
    found_encoder = None if use_rep is not None else im.get_encoder(encoder or DEFAULT_ENCODER, device=device)
    with record.stage("read"), warnings.catch_warnings():
        # genes and spots without a count are ordinary here: none is left out
        warnings.filterwarnings("ignore", message=".*(genes|spots) have no counts", category=UserWarning)
        found = read_inputs(
            [samples], n_domains=1, use_rep=None, layer=None, spatial_key=Keys.SPATIAL, section_key=None,
            skip_bad=skip_bad, options=options, workers=workers,
        )  # fmt: skip
        if use_rep is not None:
            problems = _check_keys(found.sections, use_rep, samples)
        else:
            problems = check_images(found.sections, samples, workers)
        if problems and not skip_bad:
            listed = "; ".join(problem.rstrip(". ") for problem in problems.values())
            head = f"{len(problems)} of {len(found.sections)} sections cannot be used: " if len(problems) > 1 else ""
            raise CommandError(f"{head}{listed}. Correct this, or go on without: --skip-bad.")
        for problem in problems.values():
            _warn(f"left out: {problem}")
        sections = {name: adata for name, adata in found.sections.items() if name not in problems}
        if len(sections) < least_sections:
            raise CommandError(
                f"{samples} has {len(sections)} usable section(s), and {least_sections} are needed: settings are "
                "chosen by leaving a section out. Add sections."
            )
        if check is not None:
            check(sections)
        digests = found.digests
        if use_rep is None:
            digests = digests + _image_digests(sections)
    console.speak()
    skipped = {**found.skipped, **problems}
    if found_encoder is None:
        reps = list(use_rep or ())
        return ImagedStudy(sections, reps, digests, skipped, {"use_rep": reps}, wanted=None)
    fields = list(field_um) if field_um is not None else default_fields(sections)
    named = found_encoder if workers is None else encoder or DEFAULT_ENCODER
    base = f"X_{short_name(found_encoder.name)}"
    wanted = Wanted(named, device, found_encoder.digest, tuple(fields), base, cache, progress and workers is None)
    facts = {"encoder": found_encoder.name, "encoder_digest": found_encoder.digest, "field_um": fields}
    facts["encoder_device"] = str(getattr(found_encoder, "device", "cpu"))
    return ImagedStudy(sections, keys_of(base, fields), digests, skipped, facts, wanted)


def check_images(sections: dict[str, "AnnData"], samples: Path, workers: Workers | None) -> dict[str, str]:
    """Return section -> what is wrong with its image."""
    items, problems = {}, {}
    for name, adata in sections.items():
        subject = f"section {name!r} of {samples.name}"
        try:
            with about(subject):
                items[name] = (place(adata), subject)
        except CommandError as error:
            problems[name] = str(error)
    for outcome in run_each(check_one, items, workers=workers):
        if outcome.error is not None:
            problems[outcome.name] = one_line(outcome.error)
    return {name: problems[name] for name in sections if name in problems}


def default_fields(sections: dict[str, "AnnData"]) -> list[float]:
    """Return the widths of the fields: once, half, twice and four times the distance of the spots."""
    import numpy as np

    from histoquilt.study import Section

    pitches = []
    for name, adata in sections.items():
        recorded = adata.uns.get(Keys.UNS, {}).get(Keys.COORDINATES, {}).get("pitch_um")
        pitches.append(recorded or 10 * round(Section(name, adata).pitch_um / 10))
    once = max(float(np.median(pitches)), LEAST_FIELD_UM)
    return [once * multiple for multiple in MULTIPLES]


def _embed(sections: dict[str, "AnnData"], wanted: Wanted, workers: Workers | None, *, progress: bool) -> None:
    """Embed every section's image, and write into the sections what was found."""
    items = {name: (place(adata), name, wanted) for name, adata in sections.items()}
    failed = {}
    with progress_bar("Embedding sections", len(items), enabled=progress and workers is not None) as advance:
        for outcome in run_each(embed_one, items, workers=workers):
            if outcome.error is not None:
                failed[outcome.name] = one_line(outcome.error)
            else:
                take(sections[outcome.name], outcome.value)
            advance(note=outcome.name)
    if failed:
        raise CommandError("; ".join(failed[name].rstrip(". ") for name in sections if name in failed) + ".")


def _check_keys(sections: dict[str, "AnnData"], use_rep: Sequence[str], samples: Path) -> dict[str, str]:
    """Return section -> what is wrong with its embeddings."""
    from histoquilt.study import Section

    problems = {}
    for name, adata in sections.items():
        try:
            with about(f"section {name!r} of {samples.name}"):
                for key in use_rep:
                    if key not in adata.obsm:
                        found = ", ".join(map(repr, adata.obsm)) or "nothing"
                        raise CommandError(
                            f"{key!r} is not in its obsm (found: {found}). Name embeddings that all sections have."
                        )
                Section("", adata).embeddings(use_rep)
        except CommandError as error:
            problems[name] = str(error)
    return problems


def _with_whole_path(encoder: str | None) -> str | None:
    """Return the name of an encoder, the file in it with its whole path."""
    kind, colon, path = (encoder or "").partition(":")
    return f"{kind}:{Path(path).expanduser().absolute()}" if colon and kind in ("onnx", "openvino") else encoder


def _image_digests(sections: dict[str, "AnnData"]) -> list[dict[str, Any]]:
    paths = {name: Path(adata.uns[Keys.UNS][Keys.IMAGE]["path"]) for name, adata in sections.items()}
    known = {path: sha256(path) for path in dict.fromkeys(paths.values())}  # sections may share an image
    return [
        {"section": name, "path": str(path), "sha256": known[path], "what": "image"} for name, path in paths.items()
    ]


def _warn(text: str) -> None:
    from histoquilt.runtime import warn_user

    warn_user(text)
