"""Xenium and Visium HD folders in their exact layout, small, made from toy tissue."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image
from scipy.sparse import csr_matrix, hstack
from scipy.spatial import cKDTree
from tests.io.conftest import write_10x_h5, write_10x_mtx

PIXEL_UM = 0.2125  # of Xenium's morphology image
HD_MPP = 0.25  # of the image given to Space Ranger


def xenium_id(number: int) -> str:
    """A cell's name as Xenium spells a 32-bit number: hexadecimal, with a to p for 0 to f, and the set's number."""
    return "".join("abcdefghijklmnop"[int(digit, 16)] for digit in f"{number:08x}") + "-1"


def rings_around(centres: np.ndarray, radius: float, seed: int = 0) -> list[np.ndarray]:
    """A closed ring of 5 to 12 corners around each centre; as in Xenium and Space Ranger not all are of one length."""
    rng = np.random.default_rng(seed)
    rings = []
    for centre in centres:
        n = rng.integers(5, 13)
        angle = 2 * np.pi * (np.arange(n) + rng.uniform(0, 0.5, n)) / n
        reach = radius * rng.uniform(0.7, 1.0, n)
        ring = centre + reach[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
        rings.append(np.vstack([ring, ring[:1]]).astype(np.float32))
    return rings


def tissue(section: AnnData, pitch: float) -> tuple[AnnData, np.ndarray]:
    """Toy tissue as cells: counts with gene identifiers, and places with the given distance of neighbours."""
    var = pd.DataFrame({"gene_ids": [f"ENSG{i:011d}" for i in range(section.n_vars)]}, index=section.var_names)
    places = np.asarray(section.obsm["spatial"])
    places = places * pitch / np.median(cKDTree(places).query(places, k=2)[0][:, 1])
    return AnnData(csr_matrix(section.X), obs=pd.DataFrame(index=section.obs_names.copy()), var=var), places


def write_xenium(
    section: AnnData,
    folder: Path,
    *,
    tables: tuple[str, ...] = ("parquet", "csv.gz"),
    matrix: str = "h5",
    ids: str = "names",
) -> dict[str, np.ndarray]:
    """Write the output of Xenium Onboard Analysis 3; return the outline of each cell in microns.

    Tables are in another order than the matrix, which has two control probes. ``ids``: ``names``, ``integers`` as in
    the first releases, or ``bytes`` (names stored as such in parquet).
    """
    cells, places = tissue(section, pitch=10.0)
    numbers = np.arange(1000, 1000 + cells.n_obs)
    cells.obs_names = [str(number) if ids == "integers" else xenium_id(number) for number in numbers]
    rings = dict(zip(cells.obs_names, rings_around(places, 4.5), strict=True))
    folder.mkdir(parents=True)
    specs = {
        "major_version": 7, "minor_version": 0, "run_name": "toy", "region_name": "toy", "num_cells": cells.n_obs,
        "panel_name": "toy", "pixel_size": PIXEL_UM, "analysis_sw_version": "xenium-3.0.0.15",
    }  # fmt: skip
    (folder / "experiment.xenium").write_text(json.dumps(specs))
    controls = pd.DataFrame({"gene_ids": ["NegControlProbe_00042", "UnassignedCodeword_0037"]})
    controls = controls.set_index(pd.Index(controls["gene_ids"].to_numpy()))
    whole = AnnData(
        hstack([cells.X, csr_matrix(np.ones((cells.n_obs, 2)))], format="csr"),
        obs=cells.obs,
        var=pd.concat([cells.var, controls]),
    )
    kinds = ["Negative Control Probe", "Unassigned Codeword"]
    whole.var["feature_types"] = ["Gene Expression"] * cells.n_vars + kinds
    if matrix == "h5":
        write_10x_h5(whole, folder / "cell_feature_matrix.h5", library_id=None)
    elif matrix == "zarr":
        write_10x_zarr(whole, numbers, folder / "cell_feature_matrix.zarr.zip")
    else:
        write_10x_mtx(whole, folder / "cell_feature_matrix")
    total = np.asarray(cells.X.sum(axis=1)).ravel().astype(np.int64)
    key = numbers if ids == "integers" else cells.obs_names.to_numpy()
    if ids == "bytes":
        key = np.array([name.encode() for name in key], dtype=object)
    table = pd.DataFrame({
        "cell_id": key, "x_centroid": places[:, 0], "y_centroid": places[:, 1], "transcript_counts": total,
        "control_probe_counts": 1, "genomic_control_counts": 0, "control_codeword_counts": 0,
        "unassigned_codeword_counts": 1, "deprecated_codeword_counts": 0, "total_counts": total + 2,
        "cell_area": 50.5, "nucleus_area": 20.25, "nucleus_count": 1,
        "segmentation_method": "Segmented by boundary stain",
    })  # fmt: skip
    lengths = [len(ring) for ring in rings.values()]
    outlines = pd.DataFrame(np.concatenate(list(rings.values())), columns=["vertex_x", "vertex_y"])
    outlines.insert(0, "cell_id", np.repeat(key, lengths))
    outlines["label_id"] = np.repeat(np.arange(1, cells.n_obs + 1), lengths)
    order = np.random.default_rng(0).permutation(cells.n_obs)
    by_ring = outlines["label_id"].map(dict(zip(order + 1, range(cells.n_obs), strict=True)))
    write_tables(table.iloc[order], folder / "cells", tables)
    write_tables(outlines.loc[by_ring.sort_values(kind="stable").index], folder / "cell_boundaries", tables)
    return rings


def write_10x_zarr(cells: AnnData, numbers: np.ndarray, path: Path) -> None:
    """Write the counts as Xenium's ``.zarr.zip``, feature by feature; ``numbers`` make up the names of the cells."""
    import zarr

    by_feature = csr_matrix(cells.X.T)
    store = zarr.storage.ZipStore(path, mode="w")
    attributes = {
        "major_version": 3, "minor_version": 0, "number_cells": cells.n_obs, "number_features": cells.n_vars,
        "feature_keys": list(cells.var_names), "feature_ids": list(cells.var["gene_ids"]),
        "feature_types": [
            "gene" if kind == "Gene Expression" else kind.lower().replace(" ", "_")
            for kind in cells.var["feature_types"]
        ],
    }  # fmt: skip
    group = zarr.create_group(store, zarr_format=2).create_group("cell_features", attributes=attributes)
    parts = {"cell_id": np.column_stack([numbers, np.ones_like(numbers)]), "data": by_feature.data}
    for name, values in {**parts, "indices": by_feature.indices, "indptr": by_feature.indptr}.items():
        group.create_array(name, data=np.asarray(values).astype(np.uint32))
    store.close()


def write_tables(table: pd.DataFrame, path: Path, endings: tuple[str, ...]) -> None:
    if "parquet" in endings:
        table.to_parquet(path.with_name(f"{path.name}.parquet"), index=False)
    if "csv.gz" in endings:
        path.with_name(f"{path.name}.csv.gz").write_bytes(gzip.compress(table.to_csv(index=False).encode(), 1))


def write_visium_hd(section: AnnData, outs: Path, *, bins: bool = True, cells: bool = True) -> dict[str, np.ndarray]:
    """Write the output of Space Ranger 4 for Visium HD; return the outline of each segmented cell in pixels.

    Bins of 8 um are the spots of the toy tissue that lie nearest; those of 16 um are four of them each, those of 2 um
    a quarter of some.
    """
    counts, places = tissue(section, pitch=8.0)
    outs.mkdir(parents=True)
    low = places.min(axis=0)
    side = int(np.ptp(places, axis=0).min() // 16) * 2
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)  # row, column
    centres = (grid[:, ::-1] + 0.5) * 8.0 + low
    fine = counts.X[cKDTree(places).query(centres)[1]]
    coarse_of = (grid[:, 0] // 2) * (side // 2) + grid[:, 1] // 2
    sums = csr_matrix((np.ones(len(grid)), (coarse_of, np.arange(len(grid)))))
    coarse = np.unique(grid // 2, axis=0)
    levels = {
        2: (fine[: side * side // 4], grid[: side * side // 4], centres[: side * side // 4]),
        8: (fine, grid, centres),
        16: (sums @ fine, coarse, (coarse[:, ::-1] + 0.5) * 16.0 + low),
    }
    for size, (matrix, at, where) in levels.items() if bins else ():
        folder = outs / "binned_outputs" / f"square_{size:03d}um"
        folder.mkdir(parents=True)
        names = [f"s_{size:03d}um_{row:05d}_{column:05d}-1" for row, column in at]
        data = AnnData(csr_matrix(matrix), obs=pd.DataFrame(index=names), var=counts.var)
        write_10x_h5(data, folder / "filtered_feature_bc_matrix.h5", library_id=None)
        _write_spatial(folder / "spatial", {"bin_size_um": float(size)})
        x, y = (where / HD_MPP).T
        positions = pd.DataFrame({
            "barcode": names, "in_tissue": 1, "array_row": at[:, 0], "array_col": at[:, 1],
            "pxl_row_in_fullres": y, "pxl_col_in_fullres": x,
        })  # fmt: skip
        positions.to_parquet(folder / "spatial" / "tissue_positions.parquet", index=False)
    if not cells:
        return {}
    folder = outs / "segmented_outputs"
    folder.mkdir()
    counts.obs_names = [f"cellid_{number:09d}-1" for number in range(7, 7 + counts.n_obs)]
    rings = dict(zip(counts.obs_names, rings_around(places / HD_MPP, 3.5 / HD_MPP), strict=True))
    write_10x_h5(counts, folder / "filtered_feature_cell_matrix.h5", library_id=None)
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring.astype(float).tolist()]},
            "properties": {"cell_id": int(name[7:16])},
        }
        for name, ring in reversed(rings.items())
    ]
    collection = {"type": "FeatureCollection", "features": features}
    (folder / "cell_segmentations.geojson").write_text(json.dumps(collection))
    _write_spatial(folder / "spatial", {})
    return rings


def _write_spatial(folder: Path, more: dict[str, float]) -> None:
    folder.mkdir()
    factors = {"tissue_hires_scalef": 0.1, "tissue_lowres_scalef": 0.02, "microns_per_pixel": HD_MPP}
    (folder / "scalefactors_json.json").write_text(json.dumps(factors | {"spot_diameter_fullres": 32.0} | more))
    for name, side in (("hires", 200), ("lowres", 40)):
        Image.new("RGB", (side, side), "pink").save(folder / f"tissue_{name}_image.png")
