"""Folders of public studies in the exact form of their authors, made from toy tissue."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image
from scipy.io import mmwrite
from scipy.sparse import csc_matrix

from histoquilt.cli import run
from histoquilt.datasets import toy_slides

Slide = tuple[AnnData, np.ndarray]


@pytest.fixture(scope="session")
def slides() -> list[Slide]:
    """Four small slides of one tissue: 64 spots, 60 genes, 3 domains, 2 microns a pixel."""
    return list(toy_slides(4, n_spots=64, n_genes=60, n_domains=3, seed=0, mpp=2).values())


def as_bytes(text: str, *, packed: bool = False, crlf: bool = False) -> bytes:
    raw = (text.replace("\n", "\r\n") if crlf else text).encode()
    return gzip.compress(raw) if packed else raw


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def picture(path: Path, pixels: np.ndarray, scale: float = 1.0, *, packed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if scale != 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)))
    bare = path.with_suffix("") if packed else path
    image.save(bare, quality=95)
    if packed:
        put(path, gzip.compress(bare.read_bytes()))
        bare.unlink()
    return path


def legacy_tables(adata: AnnData) -> tuple[str, str, str]:
    """Counts, selection and labels of legacy ST as text: spots by array position, the last one not selected."""
    x, y = np.arange(adata.n_obs) % 9 + 2, np.arange(adata.n_obs) // 9 + 3
    counts = pd.DataFrame(
        adata.X.toarray().astype(int), index=[f"{i}x{j}" for i, j in zip(x, y, strict=True)], columns=adata.var_names
    )
    centres = adata.obsm["spatial"]
    chosen = pd.DataFrame(
        {"x": x, "y": y, "new_x": x + 0.021, "new_y": y - 0.052, "pixel_x": centres[:, 0], "pixel_y": centres[:, 1]}
    ).assign(selected=1)
    chosen.loc[chosen.index[-1], "selected"] = 0
    labels = pd.DataFrame(
        {"Row.names": [f"{a:.0f}x{b:.0f}" for a, b in centres], "x": chosen["new_x"], "y": chosen["new_y"],
         "pixel_x": centres[:, 0], "pixel_y": centres[:, 1],
         "label": ["undetermined", *adata.obs["domain_true"].astype(str).iloc[1:]]}
    )  # fmt: skip
    shuffled = labels.sample(frac=1, random_state=0)
    return (
        counts.to_csv(sep="\t"),
        chosen.to_csv(sep="\t", index=False, float_format="%.3f"),
        shuffled.to_csv(sep="\t", index=False),
    )


def write_her2st(folder: Path, slides: list[Slide], names: tuple[str, ...] = ("A1", "B1", "B2", "C1")) -> Path:
    """The tree of almaan/her2st: counts packed or not, CRLF in one, labels for the first section of a patient."""
    data = folder / "data"
    for number, (name, (adata, pixels)) in enumerate(zip(names, slides, strict=True)):
        counts, chosen, labels = legacy_tables(adata)
        packed = number % 2 == 0
        put(data / f"ST-cnts/{name}.tsv{'.gz' if packed else ''}", as_bytes(counts, packed=packed, crlf=number == 1))
        put(data / f"ST-spotfiles/{name}_selection.tsv", as_bytes(chosen, crlf=number == 1))
        picture(data / f"ST-imgs/{name[0]}/{name}/HE_BT_{name}.jpg", pixels)
        if name.endswith("1"):
            put(data / f"ST-pat/lbl/{name}_labeled_coordinates.tsv", as_bytes(labels, crlf=number == 1))
    return folder


def write_her2st_zenodo(folder: Path, slides: list[Slide], form: str = "by archive") -> Path:
    """The archives of Zenodo 4751624: two hold a folder, two do not. Unpacked together, or each into its own folder."""
    counts_in, images_in, spots_in, labels_in = {
        "by archive": ("count-matrices/count-matrices", "images/images", "spot-selections", "meta"),
        "by hand": ("count-matrices", "images", "spot-selections", "meta"),
        "together": ("count-matrices", "images", ".", "."),
    }[form]
    for name, (adata, pixels) in zip(("A1", "B1", "B2", "C1"), slides, strict=True):
        counts, chosen, labels = legacy_tables(adata)
        put(folder / counts_in / f"{name}.tsv.gz", as_bytes(counts, packed=True))
        put(folder / spots_in / f"{name}_selection.tsv.gz", as_bytes(chosen, packed=True))
        picture(folder / images_in / "HE" / f"{name}.jpg", pixels)
        if name.endswith("1"):
            picture(folder / images_in / "annotation" / f"{name}.jpg", pixels, 0.1)
            put(folder / labels_in / f"{name}_labeled_coordinates.tsv", as_bytes(labels))
    return folder


def write_cscc(folder: Path, slides: list[Slide]) -> Path:
    """The flat files of GSE144240_RAW.tar, gzip-compressed; the samples of one patient are not next to each other."""
    for number, (name, (adata, pixels)) in enumerate(
        zip(("P2_ST_rep1", "P10_ST_rep1", "P5_ST_rep1", "P2_ST_rep2"), slides, strict=True)
    ):
        gsm = f"GSM{4284316 + number}"
        counts, chosen, _ = legacy_tables(adata)
        put(folder / f"{gsm}_{name}_stdata.tsv.gz", as_bytes(counts, packed=True))
        put(folder / f"{gsm}_spot_data-selection-{name}.tsv.gz", as_bytes(chosen, packed=True))
        picture(folder / f"{gsm}_{name}.jpg.gz", pixels, packed=True)
    return folder


def write_10x_h5(adata: AnnData, path: Path, barcodes: list[str]) -> None:
    """Counts as Space Ranger writes them."""
    matrix = csc_matrix(adata.X.T)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        group["data"], group["indices"] = matrix.data.astype(np.int32), matrix.indices.astype(np.int64)
        group["indptr"], group["shape"] = matrix.indptr.astype(np.int64), np.array(matrix.shape, dtype=np.int32)
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{i:011d}" for i in range(adata.n_vars)], dtype="S")
        features["name"] = np.array(list(adata.var_names), dtype="S")
        features["feature_type"] = np.array(["Gene Expression"] * adata.n_vars, dtype="S")
        features["genome"] = np.array(["GRCh38"] * adata.n_vars, dtype="S")
        features["_all_tag_keys"] = np.array(["genome"], dtype="S")


def barcodes_of(adata: AnnData) -> list[str]:
    letters = [np.base_repr(i + 4**8, 4).translate(str.maketrans("0123", "ACGT")) for i in range(adata.n_obs)]
    return [f"{word}-1" for word in letters]


def write_spatial(adata: AnnData, pixels: np.ndarray, folder: Path, positions: str, *, scale: float = 0.5) -> None:
    """The spatial/ folder of Space Ranger, without header in version 1."""
    place = np.arange(adata.n_obs)
    table = pd.DataFrame(
        {"barcode": barcodes_of(adata), "in_tissue": 1, "array_row": place // 9, "array_col": 2 * (place % 9) +
         place // 9 % 2, "row": adata.obsm["spatial"][:, 1].round(), "col": adata.obsm["spatial"][:, 0].round()}
    )  # fmt: skip
    put(folder / positions, as_bytes(table.to_csv(index=False, header=False, float_format="%.0f")))
    factors = {"tissue_hires_scalef": scale, "tissue_lowres_scalef": scale / 3, "spot_diameter_fullres": 27.5}
    put(folder / "scalefactors_json.json", json.dumps(factors).encode())
    picture(folder / "tissue_hires_image.png", pixels, scale)


def write_dlpfc(
    folder: Path, slides: list[Slide], names: tuple[str, ...] = ("151673", "151674", "151675", "151676")
) -> Path:
    """Four forms of the field: matrix with or without prefix, labels as truth, metadata or map; one in HumanPilot's."""
    layers = []
    for number, (name, (adata, pixels)) in enumerate(zip(names, slides, strict=True)):
        barcodes, layer = barcodes_of(adata), [f"Layer_{label}" for label in adata.obs["domain_true"]]
        layer[0] = "NA"
        prefix = f"{name}_" if number != 1 else ""
        write_10x_h5(adata, folder / name / f"{prefix}filtered_feature_bc_matrix.h5", barcodes)
        positions = "tissue_positions_list.txt" if number == 3 else "tissue_positions_list.csv"
        write_spatial(adata, pixels, folder / name / "spatial", positions)
        truth = pd.DataFrame({"barcode": barcodes, "layer": layer})
        if number == 0:
            put(folder / name / f"{name}_truth.txt", as_bytes(truth.to_csv(sep="\t", header=False, index=False)))
        elif number == 1:  # as R writes it: the corner is left out
            body = truth.assign(key=barcodes, sum_umi=7)[["key", "barcode", "sum_umi", "layer"]]
            text = "barcode\tsum_umi\tlayer_guess\n" + body.to_csv(sep="\t", header=False, index=False)
            put(folder / name / "metadata.tsv", as_bytes(text))
        else:
            layers.append(truth.assign(sample=name)[["barcode", "sample", "layer"]])
    if layers:
        text = pd.concat(layers).to_csv(sep="\t", header=False, index=False)
        put(folder / "barcode_level_layer_map.tsv", as_bytes(text))
    return folder


def write_visium(folder: Path, slides: list[Slide]) -> Path:
    """Samples of 10x Genomics: files with the sample's name, one inside outs/, one with its full image."""
    for number, (adata, pixels) in enumerate(slides[:3]):
        name = f"V1_Breast_Cancer_Block_A_Section_{number + 1}"
        place = folder / name / ("outs" if number == 1 else "")
        prefix = "" if number == 1 else f"{name}_"
        write_10x_h5(adata, place / f"{prefix}filtered_feature_bc_matrix.h5", barcodes_of(adata))
        write_spatial(adata, pixels, place / "spatial", "tissue_positions_list.csv")
        if number == 2:
            picture(place / f"{name}_image.tif", pixels)
    return folder


def write_wu2021(
    folder: Path, slides: list[Slide], names: tuple[str, ...] = ("1142243F", "CID4290", "CID4465")
) -> Path:
    """Zenodo 4739739: matrix folders with one column of genes, in one of them plain files called .gz."""
    for number, (name, (adata, pixels)) in enumerate(zip(names, slides[:3], strict=True)):
        matrix = folder / "filtered_count_matrices" / f"{name}_filtered_count_matrix"
        matrix.mkdir(parents=True)
        barcodes = barcodes_of(adata)
        mmwrite(matrix / "matrix.mtx", csc_matrix(adata.X.T).astype(np.int64))
        put(matrix / "features.tsv", ("\n".join(adata.var_names) + "\n").encode())
        put(matrix / "barcodes.tsv", ("\n".join(barcodes) + "\n").encode())
        for path in list(matrix.iterdir()) if number else []:
            content = path.read_bytes()
            put(path.with_name(f"{path.name}.gz"), content if number == 2 else gzip.compress(content))
            path.unlink()
        write_spatial(adata, pixels, folder / "spatial" / f"{name}_spatial", "tissue_positions_list.csv")
        table = pd.DataFrame(
            {"nCount_RNA": 9, "subtype": "TNBC" if number != 1 else "ER", "patientid": name,
             "Classification": ["Artefact", *adata.obs["domain_true"].astype(str).iloc[1:]]},
            index=barcodes,
        )  # fmt: skip
        put(folder / "metadata" / f"{name}_metadata.csv", as_bytes(table.to_csv()))
    return folder


def write_hest(folder: Path, slides: list[Slide]) -> Path:
    """HEST-1k: two studies that both call a patient "Patient 1", one section without a patient in its JSON."""
    rows = []
    for number, (adata, pixels) in enumerate(slides):
        name = ("TENX95", "TENX99", "NCBI783", "INT1")[number]
        section = AnnData(adata.X.copy(), obs=pd.DataFrame(index=barcodes_of(adata)), var=adata.var[[]].copy())
        section.obsm["spatial"] = adata.obsm["spatial"].copy()
        section.uns["spatial"] = {"ST": {
            "images": {"downscaled_fullres": pixels[::4, ::4].copy()},
            "scalefactors": {"tissue_downscaled_fullres_scalef": 0.25, "spot_diameter_fullres": 27.5},
        }}  # fmt: skip
        (folder / "st").mkdir(parents=True, exist_ok=True)
        section.write_h5ad(folder / "st" / f"{name}.h5ad")
        picture(folder / "wsis" / f"{name}.tif", pixels)
        facts = {
            "id": name, "dataset_title": f"Study {number // 2}", "patient": f"Patient {number % 2 + 1}",
            "organ": "Breast", "species": "Homo sapiens", "st_technology": "Xenium" if number < 2 else "Visium",
            "pixel_size_um_estimated": 2.0, "pixel_size_um_embedded": None, "disease_state": "Cancer",
        }  # fmt: skip
        rows.append(facts)
        put(folder / "metadata" / f"{name}.json", json.dumps(facts).encode())
    pd.DataFrame(rows).to_csv(folder / "HEST_v1_1_0.csv", index=False)
    return folder


def write_spamask(folder: Path, slides: list[Slide]) -> Path:
    """An unpacked archive as far as it is known: a Visium folder and an .h5ad."""
    write_dlpfc(folder, slides[:1], ("151673",))
    other = slides[1][0].copy()
    del other.obs["z_um"]
    other.write_h5ad(folder / "other.h5ad")
    return folder


@pytest.fixture
def make(slides: list[Slide], tmp_path: Path) -> Callable[..., Path]:
    """Write the folder of a study by the name of its layout, under ``tmp_path``."""
    writers = {
        "her2st": write_her2st, "her2st-zenodo": write_her2st_zenodo, "cscc": write_cscc, "dlpfc": write_dlpfc,
        "visium": write_visium, "wu2021": write_wu2021, "hest": write_hest, "spamask": write_spamask,
    }  # fmt: skip

    def write(layout: str, folder: str = "study", **more: object) -> Path:
        return writers[layout](tmp_path / folder, slides, **more)

    return write


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Run a command that must succeed; return what it printed."""

    def start(*arguments: object) -> str:
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out + printed.err

    return start
