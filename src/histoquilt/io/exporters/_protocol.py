"""The protocol of exporters, their options, and what they are given of a section."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, MissingKey, argument, either, listed
from histoquilt.io._cell_polygons import CellPolygons, stored_polygons
from histoquilt.io._image_pixels import check_in_pixels, recorded_image_scale
from histoquilt.runtime import warn_user
from histoquilt.study import (
    Section,
    as_categories,
    check_obs_key,
    domain_colors,
    expression,
    gene_rows,
    genes_by_reliability,
    named_layers,
)

_N_RELIABLE = 10  # genes of a prediction, if neither domains nor genes are asked for
_UNSAFE = re.compile(r'[\x00-\x1f/\\:*?"<>|]')  # in names of files, on any system


@dataclass(frozen=True)
class ExportOptions:
    """Options of :func:`histoquilt.io.export`; an exporter ignores those that its format has no use for.

    Attributes
    ----------
    keys
        Columns of ``obs`` with labels; by default ``"domain"``. The first colours the spots.
    genes
        Genes by name or symbol: measurements of spots in QuPath, quartiles in Loupe and Xenium Explorer, columns for
        Seurat. Values are predicted ones, else denoised, else log1p of counts per 10,000. Of a prediction without
        domains the ten most reliable genes are the default.
    layer
        Layer with the expression, if it is not ``layers["counts"]`` or ``X``.
    spots
        If true, write every spot as a QuPath detection; ``genes`` imply it, and so do outlines of cells, which are
        written as QuPath cells.
    tolerance_um
        Size in microns of the details left out of polygon borders; 0 keeps all.
    mpp
        Microns per pixel of the image that is open in the viewer. By default coordinates are pixels of the attached
        image (:func:`attach_image`), else of the full-resolution image. Sections in microns need it, except Xenium,
        whose reader records that of the morphology image.
    compress
        If true, write ``.geojson.gz``.
    by_gene
        If true, store ``X`` of ``viewers-h5ad`` by gene (CSC), which viewers read faster.
    url
        Address under which the folder of the Vitessce export will be served.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.io.ExportOptions(genes=("MBP",)).genes
    ('MBP',)
    """

    keys: Sequence[str] | None = None
    genes: Sequence[str] = ()
    layer: str | None = None
    spots: bool = False
    tolerance_um: float = 1.0
    mpp: float | None = None
    compress: bool = False
    by_gene: bool = False
    url: str = "http://localhost:8000"

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.tolerance_um < float("inf"):
            raise ValueError(
                f"{argument('tolerance_um')} must be 0 or a positive number of microns, got {self.tolerance_um}."
            )
        if self.mpp is not None and not 0 < self.mpp < float("inf"):
            raise ValueError(f"{argument('mpp')} must be positive, got {self.mpp}.")
        for name in ("keys", "genes"):
            if isinstance(given := getattr(self, name), str):
                object.__setattr__(self, name, (given,))


class ExportedSection:
    """One section as exporters take it, with labels, barcodes and coordinates resolved.

    Attributes
    ----------
    section
        The section (:class:`histoquilt.study.Section`).
    options
        Options of the export.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import Section
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> adata.obs["domain"] = adata.obs["domain_true"]
    >>> exported = hq.io.ExportedSection(Section("case 1/a", adata), hq.io.ExportOptions())
    >>> exported.name, exported.file_name(".csv"), exported.keys
    ('case 1_a', 'case 1_a.csv', ('domain',))
    """

    def __init__(self, section: Section, options: ExportOptions) -> None:
        self.section, self.options = section, options

    @property
    def name(self) -> str:
        """Name of the section, with ``_`` for what file names cannot hold."""
        return self.file_name("")

    def file_name(self, ending: str) -> str:
        """Return a name of a file of the section, with ``_`` for what file names cannot hold."""
        return (_UNSAFE.sub("_", self.section.name).strip(". ") or "section") + _UNSAFE.sub("_", ending)

    @property
    def adata(self) -> AnnData:
        """The section alone. It may be the user's: do not change it."""
        return self.section.adata

    @cached_property
    def barcodes(self) -> np.ndarray:
        """Spot names ``(n_spots,)`` as the instrument gave them, without what was added to join sections."""
        obs = self.adata.obs
        names = obs[Keys.OBS_NAME] if Keys.OBS_NAME in obs and obs[Keys.OBS_NAME].is_unique else obs.index
        return names.astype(str).to_numpy(dtype=object)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Columns of ``obs`` with labels; none of a prediction without domains.

        Raises
        ------
        KeyError
            A column is missing.
        ValueError
            A column holds numbers that are not labels.
        """
        obs = self.adata.obs
        if self.options.keys is None and Keys.DOMAIN not in obs:
            if self.prediction is not None or self.options.genes:
                return ()
            remedy = either(
                "Find domains first (histoquilt.tl.spatial_domains), or pass keys= with columns of obs.",
                "Find domains first (histoquilt domains), or name other columns: --keys.",
            )
            raise MissingKey(Keys.DOMAIN, f"obs of section {self.section.name!r}", obs, remedy)
        keys = (Keys.DOMAIN,) if self.options.keys is None else tuple(self.options.keys)
        for key in keys:
            check_obs_key(self.adata, key, argument="keys")
            if obs[key].dtype.kind == "f" and obs[key].dropna().mod(1).any():
                raise ValueError(
                    f"obs[{key!r}] of section {self.section.name!r} holds fractions, not labels. Pass a column of "
                    f"labels as {argument('keys')}."
                )
        return keys

    def labels(self, key: str) -> pd.Categorical:
        """Return the labels of a column as viewers show them: ``Domain 1`` for the domain ``1``."""
        values = as_categories(self.adata, key)
        head = self.heading(key.removesuffix("_fine"))
        names = [f"{head} {name}" if name.isdigit() else name for name in values.categories]
        return pd.Categorical.from_codes(values.codes, categories=pd.Index(names, dtype=object))

    def classes(self, key: str) -> dict[str, str]:
        """Return label -> hierarchical name: ``Domain 3: 3.1`` for the part ``3.1`` of nested domains."""
        names = list(self.labels(key).categories)
        tree = self.adata.uns.get(Keys.UNS, {}).get(f"{key.removesuffix('_fine')}_tree")
        if tree is None or not key.endswith("_fine"):
            return dict(zip(names, names, strict=True))
        nodes = tree["nodes"][tree["nodes"]["key"] == key]
        whole = dict(zip(nodes["name"].astype(str), nodes["parent"].astype(str), strict=True))
        head = self.heading(str(tree["domain_key"]))
        return {
            label: f"{head} {whole[part]}: {label}" if whole.get(part, part) != part else label
            for label, part in zip(names, as_categories(self.adata, key).categories, strict=True)
        }

    def colors(self, key: str) -> dict[str, str]:
        """Return label -> colour ``#rrggbb``, those of our plots; stored colours come first."""
        from matplotlib.colors import to_hex

        colors = domain_colors(self.adata, key).values()
        return dict(zip(self.labels(key).categories, map(to_hex, colors), strict=True))

    def heading(self, key: str) -> str:
        """Return the title of a column: ``Domain`` for ``domain``, others as they are."""
        return key.capitalize() if key == Keys.DOMAIN else key

    def confidence(self, key: str) -> np.ndarray | None:
        """Return the confidence of labels ``(n_spots,)``, or None."""
        column = f"{key}_confidence"
        return self.adata.obs[column].to_numpy(dtype=float) if column in self.adata.obs else None

    @cached_property
    def prediction(self) -> str | None:
        """Layer of the predicted expression; None if the section is no prediction."""
        layer = self.adata.uns.get(Keys.UNS, {}).get("prediction", {}).get("layer")
        return layer if layer in named_layers(self.adata) else None

    @cached_property
    def expression(self) -> pd.DataFrame:
        """Values of the chosen genes, log1p of counts per 10,000, float32 ``(n_spots, n_genes)``.

        Raises
        ------
        KeyError
            A gene is not there.
        ValueError
            The matrix holds no counts and its scale is not declared.
        """
        adata, names = self.adata, list(self.options.genes)
        if not names and self.prediction is not None and not self.keys and "reliability" in adata.var:
            names = adata.var_names[genes_by_reliability(adata.var)[:_N_RELIABLE]].tolist()
        if not names:
            return pd.DataFrame(index=adata.obs_names)
        columns = gene_rows(adata, names)
        ids = adata.var_names[columns]
        denoised = adata.obsm.get(Keys.DENOISED)
        if self.prediction is not None:
            values = np.asarray(adata.layers[self.prediction][:, columns])
        elif isinstance(denoised, pd.DataFrame) and set(ids) <= set(denoised.columns) and self.options.layer is None:
            values = denoised[list(ids)].to_numpy()
        else:
            source = expression(adata, self.options.layer, in_memory=False)
            parts = source.normalised_chunks(1e4, log=True, n_columns=len(columns))
            values = np.concatenate([part[:, columns].toarray() for _, part in parts])
        return pd.DataFrame(values.astype(np.float32), index=adata.obs_names, columns=names)

    @property
    def genes(self) -> list[str]:
        """Names of the chosen genes."""
        return [str(name) for name in self.expression.columns]

    def quartiles(self, gene: str) -> pd.Categorical:
        """Return the quartile of every spot in a chosen gene, from low to high; spots with equal values share one."""
        values = self.expression[gene].to_numpy()
        edges = np.unique(np.quantile(values, [0.25, 0.5, 0.75]))
        _, codes = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)
        n = int(codes.max()) + 1
        names = pd.Index([f"{gene} {i + 1} of {n}" for i in range(n)], dtype=object)
        return pd.Categorical.from_codes(codes.reshape(-1), categories=names)

    @cached_property
    def mpp(self) -> float | None:
        """Microns per unit of :attr:`pixels`; None if unknown."""
        if self.options.mpp is not None:
            return self.options.mpp
        try:
            own = self.section.mpp
        except ValueError:
            return None
        if own is None:  # coordinates are microns
            return self.section.coordinates.get("image_mpp")
        return own * recorded_image_scale(self.adata)

    @cached_property
    def pixels(self) -> np.ndarray:
        """Spot centres ``(n_spots, 2)`` float64 in pixels of the image that is open in the viewer.

        Raises
        ------
        ValueError
            Coordinates are microns and neither :attr:`ExportOptions.mpp` is given nor the reader recorded the image's,
            or they are array positions.
        """
        return self.section.centres / self._pixel_size

    @cached_property
    def _pixel_size(self) -> float:
        """Size of a pixel of the image in the unit of the spot centres."""
        section, mpp = self.section, self.options.mpp
        remedy = f"Pass {argument('mpp')}, microns per pixel of the image (0.2125 for Xenium's morphology image)."
        check_in_pixels(section, remedy, known=mpp is not None)
        if mpp is None:
            return recorded_image_scale(self.adata)
        try:
            return mpp / (section.mpp or 1.0)
        except ValueError:  # scattered cells of unknown scale: mpp is that of their own pixels
            return 1.0

    @cached_property
    def polygons(self) -> CellPolygons | None:
        """Outlines of the cells in the unit of the spot centres; None if the section has none.

        Outlines that do not lie around their centres, as these were moved, are left out with a warning.
        """
        outlines = None if self.section.slots.spatial_key != Keys.SPATIAL else stored_polygons(self.adata)
        if outlines is None or not outlines.present.any():
            return None
        enclosed = outlines.enclose(self.section.centres)
        if n_astray := int((outlines.present & ~enclosed).sum()):
            warn_user(
                f"Outlines of {n_astray:,} of {outlines.present.sum():,} cells of section {self.section.name!r} are "
                f"left out: they do not lie around the positions in obsm[{Keys.SPATIAL!r}]. Were these moved or "
                "converted, or are the outlines of another section?"
            )
        return outlines.kept(enclosed) if enclosed.any() else None

    @property
    def polygons_px(self) -> CellPolygons | None:
        """The same in pixels of the image that is open in the viewer; errors as of :attr:`pixels`."""
        return None if self.polygons is None else self.polygons.scaled(1 / self._pixel_size)

    def tolerance(self) -> float:
        """Return :attr:`ExportOptions.tolerance_um` in the unit of :attr:`pixels`.

        Raises
        ------
        ValueError
            Microns per pixel are unknown.
        """
        if not self.options.tolerance_um:
            return 0.0
        if self.mpp is None:
            raise ValueError(
                f"Cannot determine microns per pixel for section {self.section.name!r}, by which polygons are "
                f"simplified. Pass {argument('mpp')}, or {argument('tolerance_um', 0)} to keep every detail."
            )
        return self.options.tolerance_um / self.mpp


@runtime_checkable
class Exporter(Protocol):
    r"""Writer of results for a viewer or program; other packages add some by the entry point ``histoquilt.exporters``.

    :func:`histoquilt.io.export`, ``histoquilt export --to NAME`` and ``--export NAME`` use it under the name of its
    entry.

    Attributes
    ----------
    label
        Name of the viewer or program.
    files
        The files that it writes, for help texts: ``"<section>.csv"``.
    needs
        Import name -> what to install, of packages that it needs: ``{"shapely": "histoquilt[export]"}``.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import Section
    >>> class Lines:
    ...     label, files, needs = "Lines", "<section>.txt", {}
    ...     def write(self, section, folder, options):
    ...         path = folder / section.file_name(".txt")
    ...         path.write_text("\n".join(section.barcodes))
    ...         return [path]
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> options = hq.io.ExportOptions()
    >>> [path] = Lines().write(hq.io.ExportedSection(Section("s1", adata), options), getfixture("tmp_path"), options)
    >>> path.name, isinstance(Lines(), hq.io.Exporter)
    ('s1.txt', True)
    """

    label: str
    files: str
    needs: Mapping[str, str]

    def write(self, section: ExportedSection, folder: Path, options: ExportOptions) -> list[Path]:
        """Write one section and return the paths written.

        Parameters
        ----------
        section
            The section: its AnnData, labels, colours, barcodes and coordinates.
        folder
            Existing folder of this exporter, which all sections share; name files by ``section.name``.
        options
            Options of the export.

        Raises
        ------
        KeyError, ValueError
            The section cannot be exported; the message says what to do.
        """
        ...


def portable(names: Sequence[str], what: str) -> dict[str, str]:
    """Return name -> name of letters, digits and ``_ . -`` only, as zarr stores need; changed names are warned of.

    Examples
    --------
    >>> portable(["s1"], "sections")
    {'s1': 's1'}
    """
    new: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        if not plain.strip("_.-") or plain[0] in "_.":
            plain = f"name{plain}"
        while plain.casefold() in {taken.casefold() for taken in new.values()}:
            plain += "_"
        new[name] = plain
    changed = [f"{old} -> {plain}" for old, plain in new.items() if old != plain]
    if changed:
        warn_user(f"Names of {what} that the format refuses were changed: {listed(changed, 4)}.")
    return new


def new_store(folder: Path, section: ExportedSection) -> Path:
    """Return the path of a new ``.zarr`` of a section, under a name that such stores allow."""
    [name] = portable([section.name], "sections").values()
    while (folder / f"{name}.zarr").exists():
        name += "_"
    return folder / f"{name}.zarr"
