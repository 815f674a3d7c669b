"""Public studies that can be downloaded: addresses, sizes and checksums as far as they are published, licences.

A checksum or size that is not published, or not known here, is None; what is downloaded is then not verified, and the
SHA-256 that was found is reported.
"""

from dataclasses import dataclass

from histoquilt.datasets.studies._dlpfc import SECTIONS

_ZENODO = "https://zenodo.org/records/4739739/files"
_DLPFC_COUNTS = "https://spatial-dlpfc.s3.us-east-2.amazonaws.com/h5"
_DLPFC_SPOTS = "https://raw.githubusercontent.com/LieberInstitute/HumanPilot/master/10X"
_TENX = "https://cf.10xgenomics.com/samples/spatial-exp/1.1.0"
_BREAST = ("V1_Breast_Cancer_Block_A_Section_1", "V1_Breast_Cancer_Block_A_Section_2")


@dataclass(frozen=True)
class RemoteFile:
    """File of a study.

    Attributes
    ----------
    url
        Address.
    path
        Path in the study's folder; of an archive, the archive itself.
    checksum
        ``"sha256:..."`` or ``"md5:..."`` as published, or None.
    size
        Bytes as published, or None.
    unpack
        Folder, relative to that of the study, into which the archive is unpacked; None if it is not an archive.
    """

    url: str
    path: str
    checksum: str | None = None
    size: int | None = None
    unpack: str | None = None


@dataclass(frozen=True)
class RemoteStudy:
    """Study that can be downloaded, or the way to get it by hand.

    Attributes
    ----------
    label
        Name, for messages.
    page
        Page of the study.
    licence
        Licence of the data as stated there.
    files
        Files; empty if the study has to be fetched by hand.
    by_hand
        Steps to get the study, if there are no files.
    """

    label: str
    page: str
    licence: str
    files: tuple[RemoteFile, ...] = ()
    by_hand: str = ""


def _dlpfc() -> tuple[RemoteFile, ...]:
    files = [RemoteFile(f"{_DLPFC_SPOTS}/barcode_level_layer_map.tsv", "barcode_level_layer_map.tsv")]
    for name in SECTIONS:
        matrix = f"{name}_filtered_feature_bc_matrix.h5"
        files.append(RemoteFile(f"{_DLPFC_COUNTS}/{matrix}", f"{name}/{matrix}"))
        files += [
            RemoteFile(f"{_DLPFC_SPOTS}/{name}/{file}", f"{name}/spatial/{file}")
            for file in ("tissue_positions_list.txt", "scalefactors_json.json", "tissue_hires_image.png")
        ]
    return tuple(files)


def _visium_breast() -> tuple[RemoteFile, ...]:
    files = []
    for name in _BREAST:
        matrix, spatial = f"{name}_filtered_feature_bc_matrix.h5", f"{name}_spatial.tar.gz"
        files.append(RemoteFile(f"{_TENX}/{name}/{matrix}", f"{name}/{matrix}"))
        files.append(RemoteFile(f"{_TENX}/{name}/{spatial}", f"{name}/{spatial}", unpack=name))
    return tuple(files)


#: Name -> study. Addresses and checksums are those that the studies' own pages and repositories give.
DOWNLOADS: dict[str, RemoteStudy] = {
    "her2st": RemoteStudy(
        "HER2ST", "https://github.com/almaan/her2st",
        "CC BY 4.0 (as stated for Zenodo 4751624); none is stated in the repository",
        by_hand="Clone the repository: git clone https://github.com/almaan/her2st. Or unpack the archives of Zenodo "
        "4751624 into one folder, with the passwords in the README of the repository.",
    ),
    "dlpfc": RemoteStudy(
        "DLPFC (spatialLIBD), 12 sections", "https://research.libd.org/spatialLIBD",
        "none is stated for the data; spatialLIBD is under Artistic-2.0", _dlpfc(),
    ),
    "cscc": RemoteStudy(
        "cSCC (GEO GSE144240)", "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE144240",
        "none is stated by the submitters (public data of GEO)",
        (
            RemoteFile(
                "https://www.ncbi.nlm.nih.gov/geo/download/?acc=GSE144240&format=file", "GSE144240_RAW.tar",
                unpack="GSE144240_RAW",
            ),
        ),
    ),
    "wu2021": RemoteStudy(
        "Wu 2021 breast Visium, 6 sections", "https://zenodo.org/records/4739739", "CC BY 4.0",
        (
            RemoteFile(
                f"{_ZENODO}/filtered_count_matrices.tar.gz", "filtered_count_matrices.tar.gz",
                "md5:ea1220f0606c4d4e9307468fb2d5427a", unpack=".",
            ),
            RemoteFile(
                f"{_ZENODO}/spatial.tar.gz", "spatial.tar.gz", "md5:29b02ae433d459d19dc52b75a529e8e9", unpack=".",
            ),
            RemoteFile(
                f"{_ZENODO}/metadata.tar.gz", "metadata.tar.gz", "md5:1d0b34ead70635c094ac74ac58a88d68", unpack=".",
            ),
        ),
    ),
    "visium-breast": RemoteStudy(
        "Visium breast cancer, block A, 2 sections (10x Genomics)", "https://www.10xgenomics.com/datasets", "CC BY 4.0",
        _visium_breast(),
    ),
    "hest": RemoteStudy(
        "HEST-1k", "https://huggingface.co/datasets/MahmoodLab/hest", "CC BY-NC-SA 4.0",
        by_hand="It is granted on request: log in on that page, accept its terms, and download st/, wsis/ and "
        "metadata/ of the sections that you need with huggingface_hub.",
    ),
    "spamask": RemoteStudy(
        "Data of SpaMask", "https://zenodo.org/records/14062665", "unknown: see the page",
        by_hand="Names, sizes and checksums of its files are not known here. Download and unpack them from that page.",
    ),
    "mclstexp": RemoteStudy(
        "Data of mclSTExp", "https://zenodo.org/records/13117873", "unknown: see the page",
        by_hand="Names, sizes and checksums of its files are not known here. It repeats HER2ST and cSCC: download "
        "these, or give the folders of the record that hold them.",
    ),
}  # fmt: skip
