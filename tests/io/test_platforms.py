"""Small folders in the true format of each platform, written here; spatialdata-io does the reading."""

import json
import shutil
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.io.instruments import _platforms
from histoquilt.io.instruments._platforms import PLATFORMS, recognise_platform

from .conftest import write_10x_h5, write_spatial

needs_spatial = pytest.mark.usefixtures("spatialdata_io")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the readers called


@pytest.fixture
def spatialdata_io():
    return pytest.importorskip("spatialdata_io", reason="the extra 'spatial' is not installed")


@pytest.fixture
def cells() -> AnnData:
    """20 cells, 8 genes, centroids in obsm."""
    rng = np.random.default_rng(0)
    var = pd.DataFrame({"gene_ids": [f"ENSG{i:011d}" for i in range(8)]}, index=[f"GENE{i}" for i in range(8)])
    adata = AnnData(csr_matrix(rng.poisson(3.0, (20, 8)).astype(np.float32)), var=var)
    adata.obsm["spatial"] = rng.random((20, 2)) * [400, 300]
    return adata


def check_cells(adata, cells, unit, names=None):
    if names is not None:
        assert list(adata.obs_names) == list(names)
    np.testing.assert_array_equal(adata.X.toarray(), cells.X.toarray())
    np.testing.assert_allclose(adata.obsm["spatial"], cells.obsm["spatial"], rtol=1e-5)
    assert adata.uns["histoquilt"]["coordinates"]["unit"] == unit
    assert {"gene_id", "gene_symbol"} <= set(adata.var)
    hq.io.write_h5ad(adata, "written.h5ad")  # nothing in it that a file cannot hold


def write_merscope(cells: AnnData, folder):
    (folder / "images").mkdir(parents=True)
    np.savetxt(folder / "images" / "micron_to_mosaic_pixel_transform.csv", np.diag([9.26, 9.26, 1.0]))
    cells.obs_names = [str(10**18 + i) for i in range(cells.n_obs)]
    counts = cells.to_df().astype(int).assign(**{"Blank-1": 1})
    counts.rename_axis("cell").to_csv(folder / "cell_by_gene.csv")
    metadata = pd.DataFrame(cells.obsm["spatial"], index=cells.obs_names, columns=["center_x", "center_y"])
    metadata.assign(fov=0, volume=500.0).rename_axis("EntityID").to_csv(folder / "cell_metadata.csv")
    return folder


def test_merscope(tmp_path, cells, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_merscope(cells, tmp_path / "run" / "region_0")
    check_cells(hq.io.read_section(folder), cells, "micron", cells.obs_names)
    assert hq.io.read_platform("vizgen", folder).uns["histoquilt"]["scale"] == {"X": "counts"}


def write_cosmx(cells: AnnData, folder):
    """Two fields of view of 10 cells, the second 1000 px to the right of the first."""
    folder.mkdir()
    fov, cell = np.repeat([1, 2], 10), np.tile(np.arange(1, 11), 2)
    local = cells.obsm["spatial"].copy()
    cells.obsm["spatial"] = local + np.column_stack([(fov - 1) * 1000.0 + 5000, np.full(20, 7000.0)])
    counts = cells.to_df().astype(int).reset_index(drop=True)
    counts.insert(0, "cell_ID", cell)
    counts.insert(0, "fov", fov)
    counts.to_csv(folder / "S1_exprMat_file.csv", index=False)
    columns = {"fov": fov, "cell_ID": cell, "Area": 100}
    columns |= {"CenterX_local_px": local[:, 0], "CenterY_local_px": local[:, 1]}
    columns |= {"CenterX_global_px": cells.obsm["spatial"][:, 0], "CenterY_global_px": cells.obsm["spatial"][:, 1]}
    pd.DataFrame(columns).to_csv(folder / "S1_metadata_file.csv", index=False)
    places = pd.DataFrame({"fov": [1, 2], "x_global_px": [5000, 6000], "y_global_px": 7000})
    places.to_csv(folder / "S1_fov_positions_file.csv", index=False)
    for name, ending in (("CellComposite", "jpg"), ("CellLabels", "tif")):
        (folder / name).mkdir()
        for number in (1, 2):
            pixels = np.zeros((300, 400, 3) if ending == "jpg" else (300, 400), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}_F{number:03d}.{ending}")
    return folder


def test_cosmx_positions_are_those_on_the_slide(tmp_path, cells, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_cosmx(cells, tmp_path / "run")
    check_cells(hq.io.read_section(folder), cells, "pixel", [f"{i}_{fov}" for fov in (1, 2) for i in range(1, 11)])


def test_curio(tmp_path, cells, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    cells.obs_names = [f"BEAD{i}" for i in range(cells.n_obs)]
    cells.write_h5ad(folder / "S1_anndata.h5ad")
    clusters = pd.DataFrame({"bead": cells.obs_names, "cluster": np.arange(cells.n_obs) % 3})
    clusters[::-1].to_csv(folder / "S1_cluster_assignment.txt", sep="\t", header=False, index=False)
    adata = hq.io.read_section(folder)
    check_cells(adata, cells, "unknown", cells.obs_names)
    assert list(adata.obs["cluster"]) == list(clusters["cluster"].astype(str))
    assert "scale" not in adata.uns["histoquilt"]  # the format does not promise raw counts
    (folder / "S1_anndata.h5ad").unlink()
    with pytest.raises(FileNotFoundError, match=r"is not a Curio Seeker output: it has no files \*_anndata.h5ad"):
        hq.io.read_platform("Slide-seq", folder)


def write_stereoseq(cells: AnnData, folder):
    """The SAW folders, with the cell-bin file's fields as it has them."""
    for name in ("02.count", "03.register", "04.tissuecut", "041.cellcut", "051.cellcluster"):
        (folder / name).mkdir(parents=True)
    (folder / "02.count" / "CHIP1.raw.gef").touch()
    n_obs, n_vars = cells.shape
    cells.obs_names = [str(i) for i in range(n_obs)]
    cells.obsm["spatial"] = np.rint(cells.obsm["spatial"])
    plain = AnnData(cells.X, obs=pd.DataFrame(index=cells.obs_names), var=pd.DataFrame(index=cells.var_names))
    plain.write_h5ad(folder / "051.cellcluster" / "CHIP1.cell.cluster.h5ad")
    cell = np.zeros(n_obs, dtype=[
        ("id", "u4"), ("x", "i4"), ("y", "i4"), ("offset", "u4"), ("geneCount", "u2"), ("expCount", "u2"),
        ("dnbCount", "u2"), ("area", "u2"), ("cellTypeID", "u2"), ("clusterID", "u2"),
    ])  # fmt: skip
    cell["id"], cell["area"] = np.arange(n_obs), 100
    cell["x"], cell["y"] = cells.obsm["spatial"].T
    gene = np.zeros(n_vars, dtype=[
        ("geneName", "S32"), ("offset", "u4"), ("cellCount", "u4"), ("expCount", "u4"), ("maxMIDcount", "u2"),
    ])  # fmt: skip
    gene["geneName"] = [name.encode() for name in cells.var_names]
    with h5py.File(folder / "041.cellcut" / "CHIP1.cellbin.gef", "w") as file:
        file.attrs["resolution"] = np.array([500], dtype=np.uint32)
        group = file.create_group("cellBin")
        group["cell"], group["gene"] = cell, gene
        group["cellExon"], group["geneExon"] = np.zeros(n_obs, dtype="u2"), np.zeros(n_vars, dtype="u4")
        expressed = cells.X.nnz
        group["cellExp"] = np.zeros(expressed, dtype=[("geneID", "u4"), ("count", "u2")])
        group["geneExp"] = np.zeros(expressed, dtype=[("cellID", "u4"), ("count", "u2")])
        group["cellExpExon"] = group["geneExpExon"] = np.zeros(expressed, dtype="u2")
        border = np.full((n_obs, 32, 2), 32767, dtype="i2")  # offsets from the centre, then padding
        border[:, :4] = [[-5, -5], [5, -5], [5, 5], [-5, 5]]
        group["cellBorder"] = border
        group["blockIndex"], group["blockSize"] = np.zeros(2, dtype="u4"), np.full(4, 256, dtype="u4")
        group["cellTypeList"] = np.array([b"default"])
    return folder


@needs_spatial
def test_stereoseq(tmp_path, cells, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_stereoseq(cells, tmp_path / "run")
    adata = hq.io.read_section(folder)
    check_cells(adata, cells, "pixel", cells.obs_names)
    assert adata.uns["histoquilt"]["coordinates"]["mpp"] == 0.5


@needs_spatial
def test_seqfish(tmp_path, cells, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    cells.obs_names = [str(i + 1) for i in range(cells.n_obs)]
    cells.to_df().astype(int).to_csv(folder / "Roi1_CellxGene.csv")
    places = pd.DataFrame(cells.obsm["spatial"], columns=["center_x", "center_y"]).assign(area=80)
    places.insert(0, "label", cells.obs_names)
    places.to_csv(folder / "Roi1_CellCoordinates.csv", index=False)
    tifffile = pytest.importorskip("tifffile")
    pixel = {"PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.1, "PhysicalSizeYUnit": "µm"}
    image = np.zeros((1, 60, 60), dtype=np.uint16)
    tifffile.imwrite(folder / "Roi1_DAPI.tiff", image, ome=True, metadata={"axes": "CYX", **pixel})
    adata = hq.io.read_section(folder)
    check_cells(adata, cells, "micron")
    assert list(adata.obs["instance_id"].astype(str)) == list(cells.obs_names)


@needs_spatial
def test_dbit(tmp_path, monkeypatch):
    """Spots are named by two barcodes, that of channel B first; 4 x 4 channels here."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    barcodes = ["AAAACCCC", "ACGTACGT", "GGGGTTTT", "TGCATGCA"]
    lines = [f"{letter}{i + 1}\t{barcode}" for letter in "AB" for i, barcode in enumerate(barcodes)]
    (folder / "barcode_list.txt").write_text("\n".join(lines) + "\n")
    a, b = np.divmod(np.arange(16), 4)
    names = [barcodes[j] + barcodes[i] for i, j in zip(a, b, strict=True)]
    spots = AnnData(csr_matrix(np.arange(48, dtype=np.float32).reshape(16, 3)), obs=pd.DataFrame(index=names))
    spots.var_names = ["A1", "B2", "C3"]
    spots[::-1].copy().write_h5ad(folder / "embryo.h5ad")
    spots.obsm["spatial"] = np.column_stack([a, b]) + 1.0
    check_cells(hq.io.read_platform("DBiT", folder), spots, "array", names)


@pytest.fixture
def visium_hd(tmp_path, counts, visium_spots):
    pytest.importorskip("pyarrow", reason="the extra 'spatial' is not installed")
    counts = counts[:, :59].copy()
    for size in (2, 8, 16):
        folder = tmp_path / "hd" / "binned_outputs" / f"square_{size:03d}um"
        folder.mkdir(parents=True)
        write_10x_h5(counts, folder / "filtered_feature_bc_matrix.h5", library_id=None)
        write_spatial(visium_spots, folder / "spatial", form="tissue_positions.parquet")
        factors = {"microns_per_pixel": 0.274, "bin_size_um": float(size), "tissue_hires_scalef": 0.1}
        (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    return tmp_path / "hd"


def test_visium_hd(visium_hd):
    expected = {"unit": "pixel", "mpp": 0.274, "pitch_um": 8.0}
    adata = hq.io.read_section(visium_hd)
    assert adata.shape == (100, 59)
    assert adata.uns["histoquilt"]["coordinates"] == expected
    assert list(adata.uns["spatial"]["hd"]["images"]) == ["hires"]
    assert hq.io.read_platform("Visium HD", visium_hd, bin_size=16).uns["histoquilt"]["coordinates"]["pitch_um"] == 16
    with pytest.raises(
        FileNotFoundError, match=r"has no square_004um \(found: 'square_002um', .*Choose with bin_size="
    ):
        hq.io.read_platform("visium_hd", visium_hd, bin_size=4)
    shutil.rmtree(visium_hd / "binned_outputs")
    with pytest.raises(FileNotFoundError, match=r"is not a Visium HD output: it has no binned_outputs"):
        hq.io.read_platform("visium_hd", visium_hd)


@pytest.mark.filterwarnings("ignore:Names that several genes share")
def test_visium_by_name(visium_folder):
    assert hq.io.read_platform("visium", visium_folder, load_images=False).n_obs == 100


def test_unknown_names_and_missing_folders(tmp_path):
    with pytest.raises(
        ValueError, match=r"Unknown platform 'nanopore'; known are visium_hd, visium, xenium, .*steinbock"
    ):
        hq.io.read_platform("nanopore", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"does not exist; expected the output folder of CosMx"):
        hq.io.read_platform("cosmx", tmp_path / "absent")


@needs_spatial
def test_every_reader_named_is_in_spatialdata_io(spatialdata_io):
    """And each takes the options that we set."""
    import inspect

    for entry in PLATFORMS.values():
        if entry.reader:
            parameters = inspect.signature(getattr(spatialdata_io, entry.reader)).parameters
            assert set(entry.options) <= set(parameters), entry.label


@needs_spatial
def test_a_strange_folder_is_reported_in_one_sentence(tmp_path):
    (tmp_path / "notes.txt").touch()
    for name, entry in PLATFORMS.items():
        with pytest.raises((FileNotFoundError, ValueError), match=entry.label.split(" (")[0] + "|Space Ranger"):
            hq.io.read_platform(name, tmp_path)
    assert recognise_platform(tmp_path) is None


def failing_reader(error):
    def reader(folder, **options):
        print("noise")
        warnings.warn("of another package", UserWarning, stacklevel=1)
        raise error

    return reader


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError("Images directory not found: {0}/CellComposite."), "CellComposite is missing. It holds"),
        (FileNotFoundError("{0}/images/transform.csv not found."), "transform.csv is missing. It holds"),
        (FileNotFoundError("No such thing."), "output: No such thing. It holds"),
        (FileNotFoundError(2, "No such file", "{0}/cells.parquet"), "cells.parquet is missing. It holds"),
        (ValueError("Index of obs\nmust match."), "spatialdata-io: ValueError: Index of obs must match. It holds"),
    ],
)
def test_errors_of_readers_are_one_clean_sentence(tmp_path, error, words, monkeypatch, recwarn, capsys):
    module = type("spatialdata_io", (), {"seqfish": staticmethod(failing_reader(error))})
    monkeypatch.setattr(_platforms, "require", lambda *args, **kwargs: module)
    error.args = tuple(arg.format(tmp_path) if isinstance(arg, str) else arg for arg in error.args)
    if getattr(error, "filename", None):
        error.filename = error.filename.format(tmp_path)
    with pytest.raises(type(error)) as raised:
        hq.io.read_platform("seqfish", tmp_path)
    assert words in str(raised.value)
    assert ".." not in str(raised.value)
    assert not recwarn.list
    assert capsys.readouterr().out == ""
