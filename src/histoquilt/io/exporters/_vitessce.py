"""Vitessce: an AnnData zarr store, and the configuration that shows it."""

import json
from pathlib import Path
from typing import Any, ClassVar

import anndata
from anndata import AnnData

from histoquilt.io.exporters._protocol import ExportedSection, ExportOptions, new_store, portable
from histoquilt.io.exporters._viewers import for_viewers, quiet_zarr, with_portable_names


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
        adata = with_portable_names(adata)
        with quiet_zarr():
            anndata.io.write_zarr(store, adata)
        text = json.dumps(configuration(section, adata, f"{options.url.rstrip('/')}/{store.name}"), indent=2)
        shown = folder / f"{store.stem}.vitessce.json"
        shown.write_text(text + "\n", encoding="utf-8")
        return [store, shown]


VITESSCE = _Vitessce()


def configuration(section: ExportedSection, adata: AnnData, url: str) -> dict[str, Any]:
    """Return the configuration: spots on the tissue, their labels and genes, and the UMAP if there is one."""
    keys = dict(zip(section.keys, portable(section.keys, "labels").values(), strict=True))
    options: dict[str, Any] = {
        "obsLocations": {"path": f"obsm/{section.section.slots.spatial_key}"},
        "obsSets": [{"name": section.heading(key), "path": f"obs/{plain}"} for key, plain in keys.items()],
    }
    if adata.X is not None:
        options["obsFeatureMatrix"] = {"path": "X"}
        if "highly_variable" in adata.var:
            options["obsFeatureMatrix"]["initialFeatureFilterPath"] = "var/highly_variable"
    views = [("spatial", 0, 0, 8, 12), ("obsSets", 8, 0, 4, 6), ("featureList", 8, 6, 4, 6)]
    space: dict[str, Any] = {"dataset": {"A": section.name}}
    if "X_umap" in adata.obsm:
        options["obsEmbedding"] = [{"path": "obsm/X_umap", "dims": [0, 1], "embeddingType": "UMAP"}]
        space["embeddingType"] = {"A": "UMAP"}
        views = [("scatterplot", 4, 0, 4, 12), ("spatial", 0, 0, 4, 12), *views[1:]]
    layout = [
        {
            "component": component,
            "coordinationScopes": {kind: "A" for kind in space if kind == "dataset" or component == "scatterplot"},
            **dict(zip("xywh", place, strict=True)),
        }
        for component, *place in views
    ]
    files = [{"fileType": "anndata.zarr", "url": url, "options": options}]
    return {
        "version": "1.0.16",
        "name": section.section.name,
        "description": "Exported by histoquilt",
        "datasets": [{"uid": section.name, "name": section.section.name, "files": files}],
        "initStrategy": "auto",
        "coordinationSpace": space,
        "layout": layout,
    }
