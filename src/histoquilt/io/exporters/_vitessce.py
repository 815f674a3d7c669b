"""Vitessce: an AnnData zarr store, and the configuration that shows it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anndata
import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.io.exporters._protocol import ExportedSection, ExportOptions, new_store, portable
from histoquilt.io.exporters._viewers import for_viewers, quiet_zarr, with_portable_names
from histoquilt.study import spot_pitch

_CENTRES = "spatial_um"  # key in obsm of the spot centres
_SPOT = 0.43  # radius of a spot over the distance to the next


class _Vitessce:
    """Exporter to Vitessce (``Exporter``)."""

    label = "Vitessce"
    files = "<section>.zarr and <section>.vitessce.json; serve the folder, and open the JSON"
    needs: ClassVar[dict[str, str]] = {}

    def write(self, section: ExportedSection, folder: Path, options: ExportOptions) -> list[Path]:
        """Write the store without pictures, and the configuration with its address."""
        store = new_store(folder, section)
        adata = for_viewers(section)
        adata.uns = {}
        adata.obsm[_CENTRES] = _centres(section)
        adata = with_portable_names(adata)
        with quiet_zarr():
            anndata.io.write_zarr(store, adata)
        text = json.dumps(configuration(section, adata, f"{options.url.rstrip('/')}/{store.name}"), indent=2)
        shown = folder / f"{store.stem}.vitessce.json"
        shown.write_text(text + "\n", encoding="utf-8")
        return [store, shown]


VITESSCE = _Vitessce()


def configuration(section: ExportedSection, adata: AnnData, url: str) -> dict[str, Any]:
    """Return the configuration: spots on the tissue in the colours of their first labels, genes, and a UMAP if any."""
    columns = dict(zip(section.keys, portable(section.keys, "labels").values(), strict=True))
    sets = {
        key: [[section.heading(key), str(name)] for name in adata.obs[column].cat.categories]
        for key, column in columns.items()
    }
    shared: dict[str, Any] = {  # by all views: what is chosen in one is chosen in the others
        "obsType": "spot",
        "obsColorEncoding": "cellSetSelection" if sets else "geneSelection",
        "obsSetSelection": next(iter(sets.values()), None),
        "obsSetColor": [
            {"path": path, "color": [int(color[at : at + 2], 16) for at in (1, 3, 5)]}
            for key, paths in sets.items()
            for path, color in zip(paths, section.colors(key).values(), strict=True)
        ],
        "featureSelection": None,
    }
    space: dict[str, Any] = {
        **{kind: {"A": value} for kind, value in {"dataset": section.name, **shared}.items()},
        "spotLayer": {"A": "__dummy__"},  # its properties are in the two below
        "spatialSpotRadius": {"A": _SPOT * spot_pitch(np.asarray(adata.obsm[_CENTRES]))},
        "metaCoordinationScopes": {"A": {"spotLayer": ["A"], **dict.fromkeys(shared, "A")}},
        "metaCoordinationScopesBy": {"A": {"spotLayer": {kind: {"A": "A"} for kind in ("spatialSpotRadius", *shared)}}},
    }
    if "X_umap" in adata.obsm:
        space["embeddingType"] = {"A": "UMAP"}
    file = {
        "fileType": "anndata.zarr",
        "url": url,
        "coordinationValues": {"obsType": "spot"},
        "options": _options(section, adata, columns),
    }
    return {
        "version": "1.0.16",
        "name": section.section.name,
        "description": "Exported by histoquilt",
        "datasets": [{"uid": section.name, "name": section.section.name, "files": [file]}],
        "initStrategy": "auto",
        "coordinationSpace": space,
        "layout": _layout(["dataset", *shared], with_umap="X_umap" in adata.obsm),
    }


def _options(section: ExportedSection, adata: AnnData, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return where the store holds what is shown."""
    options: dict[str, Any] = {
        "obsSpots": {"path": f"obsm/{_CENTRES}"},
        "obsSets": [{"name": section.heading(key), "path": f"obs/{column}"} for key, column in columns.items()],
    }
    if "X_umap" in adata.obsm:
        options["obsEmbedding"] = [{"path": "obsm/X_umap", "dims": [0, 1], "embeddingType": "UMAP"}]
    if adata.X is not None:
        options["obsFeatureMatrix"] = {"path": "X"}
        if "highly_variable" in adata.var:
            options["obsFeatureMatrix"]["initialFeatureFilterPath"] = "var/highly_variable"
        if Keys.GENE_SYMBOL in adata.var and adata.var[Keys.GENE_SYMBOL].notna().all():
            options["featureLabels"] = {"path": f"var/{Keys.GENE_SYMBOL}"}
    return options


def _layout(shared: Sequence[str], *, with_umap: bool) -> list[dict[str, Any]]:
    """Return the views, on a grid of 12 columns."""
    scopes: dict[str, Any] = dict.fromkeys(shared, "A")
    on_tissue = {**scopes, "metaCoordinationScopes": ["A"], "metaCoordinationScopesBy": ["A"]}
    views = [
        ("spatialBeta", on_tissue, 0, 0, 4 if with_umap else 8, 10),
        ("layerControllerBeta", on_tissue, 0, 10, 8, 2),
        ("obsSets", scopes, 8, 0, 4, 6),
        ("featureList", scopes, 8, 6, 4, 6),
    ]
    if with_umap:
        views.append(("scatterplot", {**scopes, "embeddingType": "A"}, 4, 0, 4, 10))
    return [
        {"component": component, "coordinationScopes": of_view, **dict(zip("xywh", place, strict=True))}
        for component, of_view, *place in views
    ]


def _centres(section: ExportedSection) -> np.ndarray:
    """Return spot centres in microns, which the scale bar counts, or as they are if the scale is unknown."""
    try:
        centres = section.section.microns
    except ValueError:
        centres = section.section.centres
    return centres.astype(np.float32)
