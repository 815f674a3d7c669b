"""Xenium's matrices and Loupe's JSON, in their true formats."""

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image

import histoquilt as hq

# of the form that Xenium Explorer writes: a quarter turn, 1.29 morphology pixels an image pixel
MATRIX = "0.011071028838929093,1.2895790134339569,807.97\n-1.2895790134339569,0.011071028838929093,73097.65\n0,0,1\n"


@pytest.fixture
def matrix_file(tmp_path):
    path = tmp_path / "Sample_he_imagealignment.csv"
    path.write_text(MATRIX)
    return path


def test_a_matrix_leads_from_the_image_to_xenium(matrix_file):
    matrix = hq.io.read_alignment_matrix(matrix_file)
    assert hq.io.apply_alignment(np.zeros((1, 2)), matrix).tolist() == [[807.97, 73097.65]]
    [[x, y]] = hq.io.apply_alignment(np.array([[10.0, 100.0]]), matrix)
    assert x == pytest.approx(0.110710288 + 128.95790134 + 807.97)
    assert y == pytest.approx(-12.895790134 + 1.1071028839 + 73097.65)
    assert hq.io.apply_alignment(np.array([[x, y]]), matrix, inverse=True) == pytest.approx(np.array([[10.0, 100.0]]))


def test_cells_are_placed_on_the_image(matrix_file):
    matrix = hq.io.read_alignment_matrix(matrix_file)
    on_image = np.array([[100.0, 200.0], [3000.0, 150.0], [40.0, 9000.0]])
    microns = hq.io.apply_alignment(on_image, matrix) * 0.2125
    adata = AnnData(np.ones((3, 2)), obsm={"spatial": microns})
    hq.io.record_coordinates(adata, "micron")
    hq.io.place_on_image(adata, matrix)
    assert adata.obsm["spatial"] == pytest.approx(on_image)
    assert adata.obsm["spatial_um"] == pytest.approx(microns)
    record = adata.uns["histoquilt"]["coordinates"]
    assert record["unit"] == "pixel"
    assert record["mpp"] == pytest.approx(0.2125 * 1.28963, rel=1e-4)
    with pytest.raises(ValueError, match=r"recorded in pixel units, and a Xenium alignment starts from microns"):
        hq.io.place_on_image(adata, matrix)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fixedX,fixedY,alignmentX,alignmentY\n1,2,3,4\n", "holds the key points of an alignment, not its matrix"),
        ("1,0,5\n0,1,3\n", r"expected 3 x 3 numbers .*found 2 row\(s\) of 3, 6 of them numbers"),
        ("1,0,5\n0,one,3\n0,0,1\n", "8 of them numbers"),
        ("1,0,5\n0,1,3\n0.5,0,1\n", "is not affine: its last row is"),
        ("1,1,5\n1,1,3\n0,0,1\n", "cannot be inverted"),
    ],
)
def test_what_is_no_matrix(text, words, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        hq.io.read_alignment_matrix(tmp_path / "a.csv")


@pytest.mark.parametrize(("kind", "name"), [("PNG", "he.png"), ("JPEG", "he.csv"), ("TIFF", "he.tif")])
def test_a_picture_in_place_of_a_matrix(tmp_path, kind, name):
    Image.new("RGB", (300, 200), "pink").save(tmp_path / name, format=kind)
    words = (
        rf"{name} .*: it is a {kind} image, and an image alignment of Xenium Explorer .* is expected. Check the path"
    )
    with pytest.raises(ValueError, match=words):
        hq.io.read_alignment_matrix(tmp_path / name)


def test_points_of_another_shape():
    with pytest.raises(ValueError, match=r"points must have shape \(n, 2\)"):
        hq.io.apply_alignment(np.zeros((2, 3)), np.eye(3))


SPOTS_PER_UM = 2.8366  # image pixels per micron of the slide's design: 0.3525 um/px


def loupe(**changes) -> dict:
    """A slide's export: design in microns, image a quarter turn of it, as Loupe 6 writes it."""
    turn = np.array([[0, SPOTS_PER_UM, -1000.0], [-SPOTS_PER_UM, 0, 43564.0], [0, 0, 1]])
    oligo = []
    for row in range(4):
        for column in range(row % 2, 8, 2):
            x, y = 5000.0 + 50 * column, 900.0 + 86.6 * row
            image = turn @ [x, y, 1]
            oligo.append({"x": x, "y": y, "row": row, "col": column, "dia": 184.4, "imageX": image[0],
                          "imageY": image[1], "tissue": True})  # fmt: skip
    del oligo[3]["tissue"]  # false is left out
    fiducial = [{"x": 1, "y": 2, "row": 0, "col": 0, "dia": 297.8, "fidName": "hexFilled", "imageX": 3, "imageY": 4}]
    return {"fiducial": fiducial, "oligo": oligo, "transform": turn.tolist(), "serialNumber": "V19B23-073",
            "area": "B1", "checksum": "0" * 32, **changes}  # fmt: skip


@pytest.fixture
def loupe_file(tmp_path):
    def write(**changes):
        path = tmp_path / "V19B23-073-B1.json"
        path.write_text(json.dumps(loupe(**changes)))
        return path

    return write


def test_loupe(loupe_file):
    table = hq.io.read_loupe_alignment(loupe_file())
    assert len(table) == 16
    assert table.attrs["serial_number"] == "V19B23-073"
    assert table.attrs["area"] == "B1"
    assert table.attrs["mpp"] == pytest.approx(1 / SPOTS_PER_UM)
    first = table.iloc[0]
    assert (first["array_row"], first["array_col"]) == (0, 0)
    assert first["x"] == pytest.approx(900 * SPOTS_PER_UM - 1000)
    assert first["y"] == pytest.approx(43564 - 5000 * SPOTS_PER_UM)
    assert table["in_tissue"].sum() == 15


def test_loupe_of_cytassist_leads_to_the_microscopes_image(loupe_file):
    plain = hq.io.read_loupe_alignment(loupe_file())
    matrix = np.array([[0.25, 0, 100.0], [0, 0.25, -50.0], [0, 0, 1]])  # microscope pixels to CytAssist pixels
    info = {"checksumHiRes": "0" * 32, "transformImages": matrix.tolist()}
    table = hq.io.read_loupe_alignment(loupe_file(cytAssistInfo=info))
    assert table["x"].to_numpy() == pytest.approx((plain["x"].to_numpy() - 100) * 4)
    assert table["y"].to_numpy() == pytest.approx((plain["y"].to_numpy() + 50) * 4)
    assert table.attrs["mpp"] == pytest.approx(plain.attrs["mpp"] / 4)
    assert table.attrs["cytassist"]
    assert table["diameter_px"].iloc[0] == pytest.approx(184.4 * 4)


def test_spots_are_placed_by_row_and_column(loupe_file):
    obs = pd.DataFrame({"array_row": [3, 0], "array_col": [1, 6]}, index=["b", "a"])
    adata = AnnData(np.ones((2, 2)), obs=obs)
    hq.io.place_by_loupe(adata, loupe_file())
    table = hq.io.read_loupe_alignment(loupe_file()).set_index(["array_row", "array_col"])
    assert adata.obsm["spatial"].tolist() == table.loc[[(3, 1), (0, 6)], ["x", "y"]].to_numpy().tolist()
    assert adata.uns["histoquilt"]["coordinates"]["mpp"] == pytest.approx(1 / SPOTS_PER_UM)
    adata.obs["array_row"] = [3, 77]
    with pytest.raises(ValueError, match=r"1 of 2 spots are not in the alignment, which has 16 \(rows 0-3"):
        hq.io.place_by_loupe(adata, loupe_file())
    del adata.obs["array_row"]
    with pytest.raises(KeyError, match=r"'array_row' not in adata.obs"):
        hq.io.place_by_loupe(adata, loupe_file())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"oligo": []}, "lists 0 spots without positions on an image"),
        ({"oligo": [{"x": 1, "y": 2, "row": 0, "col": 0, "dia": 55}]}, "the spots were not aligned by hand"),
        ({"oligo": "AAAA"}, "is of Visium HD"),
        ({"cytAssistInfo": {}}, "is a damaged Loupe alignment"),
    ],
)
def test_loupe_without_spots(changes, words, loupe_file):
    with pytest.raises(ValueError, match=words):
        hq.io.read_loupe_alignment(loupe_file(**changes))


def test_what_is_no_loupe_alignment(tmp_path):
    (tmp_path / "a.json").write_text('{"spots": 1}')
    with pytest.raises(ValueError, match=r"it has no 'oligo' \(found: 'spots'\)"):
        hq.io.read_loupe_alignment(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"oligo": [')
    with pytest.raises(ValueError, match=r"is not valid JSON"):
        hq.io.read_loupe_alignment(tmp_path / "a.json")
