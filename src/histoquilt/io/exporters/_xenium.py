"""Xenium Explorer: cell groups in CSV files, for "Add cell groups"."""

from pathlib import Path
from typing import ClassVar

import pandas as pd

from histoquilt.io.exporters._protocol import ExportedSection, ExportOptions

_LOW_TO_HIGH = ("#440154", "#31688e", "#35b779", "#fde725")  # of quartiles


class _XeniumExplorer:
    """Exporter to Xenium Explorer (``Exporter``)."""

    label = "Xenium Explorer"
    files = "<section>.csv: cell_id, group, color; one more file for every further column and gene"
    needs: ClassVar[dict[str, str]] = {}

    def write(self, section: ExportedSection, folder: Path, options: ExportOptions) -> list[Path]:
        """Write one file for every column of labels and every chosen gene, whose groups are quartiles."""
        obs = section.adata.obs
        cells = obs["cell_id"].to_numpy() if "cell_id" in obs and obs["cell_id"].is_unique else section.barcodes
        groups = {key: (section.labels(key), section.colors(key)) for key in section.keys}
        for gene in section.genes:
            quartiles = section.quartiles(gene)
            groups[gene] = quartiles, dict(zip(quartiles.categories, _LOW_TO_HIGH, strict=False))
        paths = []
        for number, (name, (labels, colors)) in enumerate(groups.items()):
            of = "" if number == 0 and section.keys else f"_{name}"
            table = pd.DataFrame({"cell_id": cells, "group": labels.astype(object)}).dropna()
            table["color"] = table["group"].map(colors)
            paths.append(folder / section.file_name(f"{of}.csv"))
            table.to_csv(paths[-1], index=False, lineterminator="\n")
        return paths


XENIUM = _XeniumExplorer()
