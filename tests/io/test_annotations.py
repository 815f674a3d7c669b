"""A pathologist's annotations: files of QuPath and Loupe Browser, wrong ones among them, and the spots they label."""

import gzip
import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image

import histoquilt as hq
from histoquilt._base import at_a_command
from histoquilt.io.annotations import _read

shapely = pytest.importorskip("shapely")


def tissue(n=12, *, unit="pixel", mpp=0.5):
    """Spots on a square lattice, 400 apart from (1000, 1000); three domains, the second inside the first."""
    places = np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2)
    adata = AnnData(
        np.ones((n * n, 2), np.float32),
        obs=pd.DataFrame(index=[f"{barcode(i)}-1" for i in range(n * n)]),
        obsm={"spatial": places * 400.0 + 1000},
    )
    inner = (abs(places - n // 2) <= 2).all(axis=1)
    labels = np.where(inner, "2", np.where(places[:, 0] < 3, "10", "1"))
    adata.obs["domain"] = pd.Categorical(labels, categories=["1", "2", "10"])
    hq.io.record_coordinates(adata, unit, **({"mpp": mpp} if unit == "pixel" else {}))
    return adata


def barcode(number):
    return "".join("ACGT"[number >> 2 * place & 3] for place in range(14))


def square(left, top, right, bottom):
    return [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]]


def feature(corners, name=None, *, kind="Polygon", **properties):
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 30]}
    geometry = {"type": kind, "coordinates": corners}
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation", **properties}}


@pytest.fixture
def drawn(tmp_path):
    """Write features as a GeoJSON file, and return its path."""

    def write(*features, name="drawing.geojson"):
        path = tmp_path / name
        path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
        return path

    return write


WHOLE, LEFT = square(0, 0, 9000, 9000), square(0, 0, 3000, 9000)


def test_a_region_inside_another_wins_and_holes_are_outside(drawn):
    adata = tissue()
    with_hole = [*square(0, 0, 9000, 9000), *square(4900, 900, 5100, 1100)]  # around spot 10
    path = drawn(
        feature(square(1700, 900, 2300, 1900), "Immune"), feature(LEFT, "Tumour"), feature(with_hole, "Stroma")
    )
    hq.tl.annotate_spots(adata, path)
    expected = np.full((12, 12), "Stroma", dtype=object)
    expected[:, :6] = "Tumour"  # a spot on the border is inside
    expected[:3, 2:4] = "Immune"
    expected[0, 10] = np.nan
    found = adata.obs["annotation"]
    pd.testing.assert_series_equal(found.astype(object), pd.Series(expected.ravel(), found.index, name="annotation"))
    assert found.cat.categories.tolist() == ["Immune", "Stroma", "Tumour"]
    assert adata.uns["annotation_colors"].tolist() == ["#c8001e"] * 3
    record = adata.uns["histoquilt"]["annotation"]
    assert record == {
        "file": "drawing.geojson", "kind": "regions", "image_scale": 1.0, "n_labelled": 143, "n_several": 72,
    }  # fmt: skip
    hq.io.write_h5ad(adata, path.with_suffix(".h5ad"))


def test_a_second_annotation_replaces_the_first_and_a_label_of_the_user_is_kept(drawn):
    adata = tissue()
    adata.obs["annotation"] = "mine"
    with pytest.warns(UserWarning, match="kept as obs\\['annotation_before'\\]"):
        hq.tl.annotate_spots(adata, drawn(feature(WHOLE, "A")))
    hq.tl.annotate_spots(adata, drawn(feature(WHOLE, "B")))
    assert set(adata.obs["annotation"]) == {"B"}
    assert set(adata.obs["annotation_before"]) == {"mine"}
    hq.tl.annotate_spots(adata, drawn(feature(LEFT, "C")), key_added="second")
    assert adata.obs["second"].notna().sum() == 72
    assert set(adata.obs["annotation"]) == {"B"}


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"classification": {"name": "Tumour"}, "name": "first"}, "Tumour"),
        ({"classification": "Tumour"}, "Tumour"),
        ({"classification": {"names": ["Tumour", "Invasive"]}}, "Tumour: Invasive"),
        ({"classification": None, "name": " Tumour "}, "Tumour"),
        ({"classification": {"name": "Tumour", "colorRGB": -3670016}}, "Tumour"),
    ],
)
@pytest.mark.parametrize("form", ["collection", "feature", "list", "gzip"])
def test_where_the_class_stands_and_what_holds_the_features(tmp_path, properties, name, form):
    one = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": WHOLE}, "properties": properties}
    document = {"type": "FeatureCollection", "features": [one]}
    document = {"feature": one, "list": [one]}.get(form, document)
    path = tmp_path / ("a.geojson.gz" if form == "gzip" else "a.geojson")
    text = json.dumps(document).encode()
    path.write_bytes(gzip.compress(text) if form == "gzip" else b"\xef\xbb\xbf" + text)
    found = hq.io.read_annotations(path)
    assert found.labels.tolist() == [name]
    assert found.colors == ({"Tumour": "#c80000"} if "colorRGB" in str(properties) else {})
    assert repr(found) == f"Annotations of {path.name}: 1 regions of 1 classes"


def test_what_is_left_out_is_said(drawn):
    old = feature(WHOLE, "Tumour")
    del old["properties"]["objectType"]
    path = drawn(
        feature(WHOLE, "Tumour"), {**old, "id": "PathDetectionObject"}, {**old, "id": "PathAnnotationObject"},
        feature(WHOLE), feature(WHOLE, "Region*"), feature([1, 2], "Tumour", kind="Point"),
        feature([[1, 2], [3, 4]], "Tumour", kind="LineString"), feature(WHOLE, "A", objectType="cell"),
        feature([[[float("nan"), 2], [3, 4], [5, 9]]], "A"), {"type": "Feature", "geometry": None, "properties": None},
        "nothing",
    )  # fmt: skip
    with pytest.warns(UserWarning, match="objects are left out") as told:
        found = hq.io.read_annotations(path)
    assert found.labels.tolist() == ["Tumour", "Tumour"]
    [warning] = told
    assert str(warning.message) == (
        "drawing.geojson: 9 of 11 objects are left out: detections, cells or tiles (2), without class or name (1), of "
        "class Region*, which QuPath ignores (1), points, lines or damaged (5)."
    )


def test_outlines_that_cross_themselves_are_repaired_and_said(drawn):
    bow_tie = [[[900, 900], [5500, 5500], [5500, 900], [900, 5500], [900, 900]]]
    adata = tissue()
    with pytest.warns(UserWarning, match="outlines of 1 regions cross themselves and were repaired \\(first: 'Tumour'"):
        hq.tl.annotate_spots(adata, drawn(feature(bow_tie, "Tumour")))
    inside = adata.obs["annotation"].notna().to_numpy().reshape(12, 12)
    assert inside[6, 1]  # in the left wing
    assert inside[6, 10]  # in the right one
    assert not inside[1, 6]  # between them


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"drawing.geojson is empty; expected annotations: GeoJSON of QuPath"),
        (b'{"type": "FeatureCollection", "features": [', r"is not valid JSON \(truncated\?\).*File, Export objects"),
        (b"[" * 100_000, r"nested too deep to be GeoJSON"),
        (b'{"oligo": [], "transform": []}', r"JSON but not GeoJSON.*found an object with 'oligo', 'transform'"),
        (b'{"type": "FeatureCollection", "features": []}', r"no annotated region: its list of objects is empty"),
        (b"\xac\xed\0\5", r"is not a file of annotations"),
        (b"<Annotations/>", r"is not a file of annotations"),
        (b"\x1f\x8b\x08\x00", r"could not be unpacked \(truncated\?\)"),
        ("Barcode,A\nx,L\xe4sion\n".encode("latin-1"), r"not written in UTF-8"),
        (b"spot;class\nx;y\n", r"has the columns 'spot;class'; expected Barcode \(or cell_id\) and labels"),
        (b"Barcode,A\nx,\ny,None\n", r"labels no spot: the column 'A' is empty"),
        (b"Barcode,A\nx,0.5\ny,0.25\n", r"holds fractions, not classes"),
        (b"Barcode,A\nx,a\nx,b\n", r"two labels for 'x' in the column 'A'"),
    ],
)
def test_a_file_that_holds_no_annotations(tmp_path, content, told):
    path = tmp_path / "drawing.geojson"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        hq.io.read_annotations(path)


def test_points_only(drawn):
    path = drawn(*(feature([i, i], kind="Point", objectType="detection") for i in range(30)))
    with pytest.raises(
        ValueError, match=r"no annotated region: its 30 objects are detections, cells or tiles \(30\)\. Draw"
    ):
        hq.io.read_annotations(path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(_read, "_MOST_BYTES", 2_000_000)
    path = tmp_path / "a.geojson"
    path.write_bytes(gzip.compress(b"[" * 50_000_000) if packed else b"[" * 3_000_000)
    assert path.stat().st_size < 100_000 or not packed
    with pytest.raises(ValueError, match=r"has more than 2 MB\. Annotations are small: export them without detections"):
        hq.io.read_annotations(path)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a.geojson does not exist; expected annotations: GeoJSON of QuPath"):
        hq.tl.annotate_spots(tissue(), tmp_path / "a.geojson")


def with_hires(adata, factor):
    image = {"images": {"hires": np.zeros((700, 700, 3), np.uint8)}, "scalefactors": {"tissue_hires_scalef": factor}}
    adata.uns["spatial"] = {"a": image}
    return adata


def test_pixels_of_another_image_and_the_scale_that_fits(drawn):
    small = drawn(feature(square(95, 95, 320, 550), "Tumour"), feature(square(320, 95, 550, 550), "Stroma"))
    with pytest.raises(ValueError) as told:  # noqa: PT011
        hq.tl.annotate_spots(with_hires(tissue(), 0.1), small)
    assert str(told.value) == (
        "The annotations of drawing.geojson cover none of the 144 spots of section 'a': they span x 95 to 550 and y 95 "
        "to 550, the spots x 1,000 to 5,400 and y 1,000 to 5,400, in pixels of the full-resolution image. They fit "
        "pixels of the image of tissue_hires_scalef: pass image_scale=10."
    )
    adata = with_hires(tissue(), 0.1)
    hq.tl.annotate_spots(adata, small, image_scale=10)
    assert adata.obs["annotation"].value_counts().to_dict() == {"Tumour": 72, "Stroma": 72}
    with at_a_command(), pytest.raises(ValueError, match=r"About --annotations-scale 9\.8 would bring them onto"):
        hq.tl.annotate_spots(tissue(), small)
    with pytest.raises(ValueError, match=r"They fit microns: pass image_scale=2\."):
        hq.tl.annotate_spots(
            tissue(), drawn(feature(square(450, 450, 900, 2750), "A"), feature(square(0, 0, 600, 2800), "B"))
        )


def test_the_scale_of_the_attached_image_is_known(drawn, tmp_path):
    adata = tissue()
    Image.new("RGB", (1600, 1600), "white").save(tmp_path / "small.png")
    hq.io.attach_image(adata, tmp_path / "small.png", image_scale=4)
    hq.tl.annotate_spots(adata, drawn(feature(square(0, 0, 750, 1600), "Tumour")))
    assert adata.obs["annotation"].notna().sum() == 72
    with pytest.raises(ValueError, match=r"lie mostly outside .* They fit pixels of the full-resolution image: pass"):
        hq.tl.annotate_spots(
            adata, drawn(feature(square(900, 900, 3000, 5500), "T"), feature(square(3000, 900, 5500, 5500), "S"))
        )


def test_another_image_or_other_sections_on_it(drawn):
    far = square(40000, 500, 42000, 9000)
    with pytest.raises(ValueError, match=r"cover none of the 144 spots .* Were they drawn on another image\?"):
        hq.tl.annotate_spots(tissue(), drawn(feature(far, "Tumour")))
    adata = tissue()
    with pytest.warns(UserWarning, match="lie mostly outside the tissue .* Does the image show other sections, too"):
        hq.tl.annotate_spots(
            adata, drawn(feature(far, "A"), feature(far, "A"), feature(square(900, 900, 3000, 3000), "B"))
        )
    assert adata.obs["annotation"].notna().sum() == 36
    swapped = tissue()
    swapped.obsm["spatial"] = swapped.obsm["spatial"][:, ::-1] + [0, 30000]
    with pytest.raises(ValueError, match=r"They fit with x and y exchanged: obsm\['spatial'\] must be \(x, y\)"):
        hq.tl.annotate_spots(swapped, drawn(feature(square(30900, 900, 36000, 6000), "Tumour")))


def test_sections_in_microns_need_the_size_of_a_pixel(drawn):
    adata = tissue(unit="micron")
    with pytest.raises(
        ValueError, match=r"are microns, and viewers of images need pixels\. Pass image_scale=, microns per"
    ):
        hq.tl.annotate_spots(adata, drawn(feature(WHOLE, "Tumour")))
    hq.tl.annotate_spots(adata, drawn(feature(square(0, 0, 12000, 40000), "Tumour")), image_scale=0.25)
    assert adata.obs["annotation"].notna().sum() == 72
    with pytest.raises(ValueError, match="image_scale must be positive"):
        hq.tl.annotate_spots(adata, drawn(feature(WHOLE, "Tumour")), image_scale=0)
    hq.io.record_coordinates(adata, "array")
    with pytest.raises(ValueError, match="rows and columns of the array, not pixels"):
        hq.tl.annotate_spots(adata, drawn(feature(WHOLE, "Tumour")), image_scale=1)


def test_several_sections_have_to_be_annotated_one_by_one(drawn):
    joint = hq.io.concat_sections({"a": tissue(), "b": tissue()})
    with pytest.raises(ValueError, match="split_sections"):
        hq.tl.annotate_spots(joint, drawn(feature(WHOLE, "Tumour")))


# --- by barcode -----------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """Write a table of labels by barcode."""

    def write(ids, labels, header="Barcode,Pathologist"):
        path = tmp_path / "loupe.csv"
        path.write_text("\n".join([header, *map("{},{}".format, ids, labels)]) + "\n")
        return path

    return write


def test_loupe_labels_some_of_the_spots(table):
    adata = tissue()
    hq.tl.annotate_spots(adata, table(adata.obs_names[::2], ["a", "b"] * 36, header="barcode,Pathologist"))
    found = adata.obs["annotation"]
    assert found.iloc[:4].isna().tolist() == [False, True, False, True]
    assert found.iloc[[0, 2]].tolist() == ["a", "b"]
    assert adata.uns["histoquilt"]["annotation"]["kind"] == "barcodes"


def test_one_of_several_columns(table):
    adata = tissue(4)
    path = table(adata.obs_names, ["x,old"] * 8 + ["y,new"] * 8, header="Barcode,Graph,Pathologist")
    with pytest.warns(UserWarning, match="the annotation is 'Graph', the first of the columns 'Graph', 'Pathologist'"):
        hq.tl.annotate_spots(adata, path)
    hq.tl.annotate_spots(adata, hq.io.read_annotations(path, column="Pathologist"))
    assert adata.obs["annotation"].tolist() == ["old"] * 8 + ["new"] * 8
    with pytest.raises(KeyError, match=r"no column 'Patologist' of labels \(found: 'Graph', 'Pathologist'\)"):
        hq.io.read_annotations(path, column="Patologist")


@pytest.mark.parametrize(
    ("in_section", "in_file"),
    [("{}-1-s1", "{}-1"), ("{}-1", "{}-1-s1"), ("S1_{}-1", "{}-1"), ("{}-1_2", "{}-1"), ("{}", "S1_{}")],
)
def test_what_was_added_to_barcodes_does_not_matter(table, in_section, in_file):
    adata = tissue()
    names = list(map(barcode, range(144)))
    adata.obs_names = [in_section.format(name) for name in names]
    path = table([in_file.format(name) for name in names], adata.obs["domain"])
    hq.tl.annotate_spots(adata, path)
    assert (adata.obs["annotation"] == adata.obs["domain"].astype(str)).all()


def test_a_section_taken_out_of_joined_ones_is_named_as_before(table):
    a, b = tissue(), tissue()
    joint = hq.io.concat_sections({"a": a, "b": b})
    both = table(joint.obs_names, ["of a"] * 144 + ["of b"] * 144)
    second = hq.io.split_sections(joint)["b"]
    with pytest.warns(UserWarning, match="144 of 288 barcodes are not in section 'b'"):
        hq.tl.annotate_spots(second, both)
    assert set(second.obs["annotation"]) == {"of b"}
    cut = joint[joint.obs["section"] == "b"].copy()  # keeps the long names
    hq.tl.annotate_spots(cut, table(b.obs_names, ["right"] * 144))
    assert set(cut.obs["annotation"]) == {"right"}
    del joint.obs["obs_name"], joint.obs["section"]
    hq.io.declare_one_section(joint)
    with pytest.raises(ValueError, match=r"barcodes occur several times there: annotate sections one by one"):
        hq.tl.annotate_spots(joint, table(b.obs_names, ["right"] * 144))


def test_cell_ids_that_are_integers(table):
    adata = tissue(4)
    adata.obs_names = [str(i) for i in range(16)]  # not the identifiers
    adata.obs["cell_id"] = np.arange(1, 17)
    labels = [f"cluster {i}" for i in range(16)]
    path = table(range(1, 17), [f"{label},#00FF00" for label in labels], header="cell_id,group,color")
    hq.tl.annotate_spots(adata, path)
    assert adata.obs["annotation"].tolist() == labels
    assert set(adata.uns["annotation_colors"]) == {"#00ff00"}
    adata.obs["cell_id"] = adata.obs["cell_id"].astype(float)
    hq.tl.annotate_spots(adata, path)
    assert adata.obs["annotation"].tolist() == labels


def test_a_table_of_another_section(table):
    adata = tissue()
    path = table([f"{barcode(i + 5000)}-1" for i in range(144)], ["x"] * 144)
    with pytest.raises(
        ValueError, match=r"names none of the 144 spots of section 'section'.* Is it the file of another"
    ):
        hq.tl.annotate_spots(adata, path)
    path = table([f"{barcode(i + 72)}-1" for i in range(144)], ["x"] * 144)
    with pytest.warns(UserWarning, match="72 of 144 barcodes are not in section 'section'. Slides of one kind share"):
        hq.tl.annotate_spots(adata, path)


# --- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coordinates", ["pixels", "image", "microns"])
def test_domains_exported_to_qupath_and_read_back_are_the_same(tmp_path, coordinates):
    adata = tissue(unit="micron" if coordinates == "microns" else "pixel")
    options = {}
    if coordinates == "image":
        Image.new("RGB", (1600, 1600), "white").save(tmp_path / "small.png")
        hq.io.attach_image(adata, tmp_path / "small.png", image_scale=4)
    elif coordinates == "microns":
        options = {"mpp": 0.2125}
    [path] = hq.io.export({"a": adata}, tmp_path / "out", to="qupath", **options)
    hq.tl.annotate_spots(adata, path, image_scale=options.get("mpp"))
    assert (adata.obs["annotation"].astype(str) == "Domain " + adata.obs["domain"].astype(str)).all()
    colors = dict(zip(adata.obs["annotation"].cat.categories, adata.uns["annotation_colors"], strict=True))
    assert colors == {f"Domain {name}": color for name, color in hq.pl.domain_colors(adata, "domain").items()}


def test_scattered_cells_there_and_back(tmp_path):
    rng = np.random.default_rng(0)
    adata = hq.datasets.toy_section(n_spots=900, n_genes=20, n_domains=4, seed=0)
    adata.obsm["spatial"] = rng.uniform(0, 4000, (900, 2))
    angle = np.arctan2(*(adata.obsm["spatial"] - 2000).T)
    adata.obs["domain"] = pd.Categorical(np.digitize(angle, [-1, 0, 2]).astype(str))
    hq.io.record_coordinates(adata, "pixel", mpp=1.0)
    [path] = hq.io.export({"a": adata}, tmp_path / "out", to="qupath")
    hq.tl.annotate_spots(adata, path)
    assert (adata.obs["annotation"].astype(str) == "Domain " + adata.obs["domain"].astype(str)).all()


def test_parts_of_domains_keep_their_derived_classes(tmp_path):
    adata = tissue()
    adata.obs["domain_fine"] = adata.obs["domain"]
    adata.uns["histoquilt"]["domain_tree"] = {
        "domain_key": "domain",
        "nodes": pd.DataFrame({"key": "domain_fine", "name": ["1", "2", "10"], "parent": ["1", "1", "10"]}),
    }
    [path] = hq.io.export({"a": adata}, tmp_path / "out", to="qupath", keys=["domain_fine"])
    names = hq.io.read_annotations(path).names
    assert names == ["Domain 1", "Domain 10", "Domain 1: Domain 2"]


def test_domains_exported_to_loupe_and_read_back_are_the_same(tmp_path):
    joint = hq.io.concat_sections({"a": tissue(), "b": tissue()})
    second = joint[joint.obs["section"] == "b"].copy()
    second.obs["domain"] = second.obs["domain"].astype(object)
    second.obs.loc[second.obs_names[5], "domain"] = None
    second.obs["type"] = "cell"  # so that spot 5 is in the file, as None
    [path] = hq.io.export({"b": second}, tmp_path / "out", to="loupe", keys=["domain", "type"])
    with pytest.warns(UserWarning, match="the annotation is 'Domain'"):
        hq.tl.annotate_spots(second, path)
    found = second.obs["annotation"].astype(object).to_numpy()
    expected = second.obs["domain"].map("Domain {}".format, na_action="ignore").to_numpy()
    assert pd.isna(found[5])
    np.testing.assert_array_equal(np.delete(found, 5), np.delete(expected, 5))
    assert hq.metrics.ari(second.obs["domain"].map(str, na_action="ignore"), second.obs["annotation"]) == 1


# --- in a study -----------------------------------------------------------------------------------------------------


def test_a_table_of_samples_names_the_annotations(drawn, tmp_path, samples):
    for name in ("a", "b"):
        adata = tissue()
        hq.io.write_h5ad(adata, tmp_path / f"{name}.h5ad")
    drawn(feature(square(95, 95, 300, 550), "Tumour"), feature(square(300, 95, 550, 550), "Stroma"))
    path = samples("section,counts,annotations,annotations_scale", "a,a.h5ad,drawing.geojson,10", "b,b.h5ad,,")
    read = hq.io.read_samples(path)
    a, b = read.sections.values()
    assert a.obs["annotation"].value_counts().to_dict() == {"Tumour": 72, "Stroma": 72}
    assert "annotation" not in b.obs
    assert "annotations" not in a.obs
    assert read.table.loc["a", "annotations"] == str(tmp_path / "drawing.geojson")
    joint = hq.io.concat_sections(read.sections)
    assert joint.obs["annotation"].notna().sum() == 144


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,a.h5ad,nothing.geojson,", "annotations .*nothing.geojson does not exist"),
        ("a,a.h5ad,,10", "annotations_scale is given, and the cell 'annotations' is empty"),
        ("a,a.h5ad,drawing.geojson,ten", "annotations_scale must be a number, got 'ten'"),
        ("a,a.h5ad,drawing.geojson,0", "annotations_scale must be positive"),
        ("a,a.h5ad,drawing.geojson,0.01", "'a' \\(line 2\\): The annotations of drawing.geojson cover none"),
    ],
)
def test_a_bad_row_is_named(drawn, tmp_path, samples, row, told):
    hq.io.write_h5ad(tissue(), tmp_path / "a.h5ad")
    drawn(feature(WHOLE, "Tumour"))
    with pytest.raises(ValueError, match=told):
        hq.io.read_samples(samples("section,counts,annotations,annotations_scale", row))


@pytest.mark.real_data
def test_a_pathologists_labels_of_real_tissue_there_and_back(data_dir, tmp_path):
    adata = ad.read_h5ad(data_dir / "her2st" / "A1.h5ad")
    hq.io.record_coordinates(adata, "pixel")
    [path] = hq.io.export({"A1": adata}, tmp_path / "out", to="qupath", keys=["label"])
    hq.tl.annotate_spots(adata, path)
    assert (adata.obs["annotation"].astype(str) == adata.obs["label"].astype(str)).all()
