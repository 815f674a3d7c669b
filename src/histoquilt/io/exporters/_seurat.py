"""Seurat and spatialLIBD: tables of one section, for ``AddMetaData`` and ``cluster_import``."""

from pathlib import Path
from typing import ClassVar

import pandas as pd

from histoquilt.io.exporters._protocol import ExportedSection, ExportOptions
from histoquilt.study import as_categories


class _Seurat:
    """Exporter to Seurat and spatialLIBD (``Exporter``)."""

    label = "Seurat, spatialLIBD"
    files = "<section>/domains.csv: barcode, labels, confidence, genes; <section>/clusters.csv: key, cluster"
    needs: ClassVar[dict[str, str]] = {}

    def write(self, section: ExportedSection, folder: Path, options: ExportOptions) -> list[Path]:
        """Write ``domains.csv`` and, if there are labels, ``clusters.csv``."""
        barcodes = pd.Index(section.barcodes, name="barcode")
        table = pd.DataFrame(index=barcodes)
        for key in section.keys:
            table[key] = as_categories(section.adata, key).astype(object)
            confidence = section.confidence(key)
            if confidence is not None:
                table[f"{key}_confidence"] = confidence
        table = pd.concat([table, section.expression.set_axis(barcodes)], axis=1)
        folder /= section.name
        folder.mkdir()
        paths = [folder / "domains.csv"]
        table.to_csv(paths[0], float_format="%.5g", lineterminator="\n")
        if section.keys:
            paths.append(folder / "clusters.csv")
            named = table[section.keys[0]].dropna().rename("cluster")
            named.index = pd.Index([f"{barcode}_{section.section.name}" for barcode in named.index], name="key")
            named.to_csv(paths[1], lineterminator="\n")
        return paths


SEURAT = _Seurat()
