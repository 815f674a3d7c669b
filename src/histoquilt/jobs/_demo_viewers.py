"""Files of the demo for viewers, and the page that says where to drag them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import EXPORTERS
from histoquilt.jobs._export import EXPORTS, add_exports

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

IMAGE, PAGE = "toy_slide.png", "viewers.html"
_HOW = {
    "qupath": f"Open {EXPORTS}/{IMAGE} in QuPath, then drag the .geojson onto it.",
    "loupe": "Of a section of yours, whose .cloupe is open: Categories, Import categories.",
    "xenium-explorer": "Of a section of yours, which is open: Cells, Cell groups, Upload.",
    "viewers-h5ad": "TissUUmaps: drag it in. cellxgene: cellxgene launch FILE. scanpy: sc.read_h5ad(FILE).",
    "seurat": 'R: AddMetaData(obj, read.csv(FILE, row.names = "barcode")).',
}


def write_viewer_files(
    folder: Path, adata: "AnnData", image: "np.ndarray", name: str, facts: Mapping[str, Any]
) -> None:
    """Write ``exports/`` with the domains of a slide and its image, and a page that says how to open them."""
    from PIL import Image

    from histoquilt.io import missing_packages
    from histoquilt.report import OpenedWith, write_exports_page

    exporters = {key: EXPORTERS.load(key) for key in _HOW}
    ready = {key: one for key, one in exporters.items() if not missing_packages(one)}
    add_exports(folder, {name: adata}, list(ready))
    Image.fromarray(image).save(folder / EXPORTS / IMAGE)
    rows = [
        OpenedWith(
            exporter.label,
            [
                path.relative_to(folder).as_posix()
                for path in sorted((folder / EXPORTS / key).rglob("*"))
                if path.is_file()
            ],
            _HOW[key],
        )
        for key, exporter in ready.items()
    ]
    write_exports_page(
        folder / PAGE,
        rows,
        facts=facts,
        title="Demo: the domains of the toy slide in other programs",
        links={"Domains of the slide": "report.html"},
    )
