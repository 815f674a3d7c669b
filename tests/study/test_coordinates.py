import numpy as np
import pytest
from anndata import AnnData

import histoquilt as hq


def section(spatial, **uns) -> AnnData:
    return AnnData(np.ones((len(spatial), 2), dtype=np.float32), obsm={"spatial": np.asarray(spatial, float)}, uns=uns)


def square(side, pitch):
    return pitch * np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(float)


def hexagonal(side, pitch):
    row, column = np.divmod(np.arange(side * side), side)
    return pitch * np.column_stack([column + 0.5 * (row % 2), row * np.sqrt(3) / 2])


def rotated(spatial, degrees):
    angle = np.deg2rad(degrees)
    return spatial @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize("degrees", [0, 17, 45, 80])
@pytest.mark.parametrize(("lattice", "pitch_um"), [(square, 200), (hexagonal, 100)])
def test_the_kind_of_lattice_is_seen_at_any_rotation(lattice, pitch_um, degrees):
    spatial = rotated(lattice(12, 250.0), degrees) + 5000
    assert hq.io.estimate_mpp(section(spatial)) == pytest.approx(pitch_um / 250, rel=1e-6)


def test_displaced_and_missing_spots_do_not_matter():
    rng = np.random.default_rng(0)
    spatial = square(20, 290.0)
    spatial = spatial[rng.random(len(spatial)) < 0.7]
    spatial = spatial + rng.normal(0, 15, spatial.shape)
    assert hq.io.estimate_mpp(section(spatial)) == pytest.approx(200 / 290, rel=0.02)


def test_a_repeated_spot_does_not_matter():
    spatial = square(8, 100.0)
    assert hq.io.estimate_mpp(section(np.vstack([spatial, spatial[:5]]))) == pytest.approx(2.0)


def test_a_pitch_given_or_recorded_is_used():
    adata = section(hexagonal(12, 50.0))
    assert hq.io.estimate_mpp(adata, pitch_um=55) == pytest.approx(1.1)
    hq.io.record_coordinates(adata, "pixel", pitch_um=8)
    assert hq.io.estimate_mpp(adata) == pytest.approx(0.16)


def test_a_lattice_larger_than_any_array_needs_a_pitch():
    adata = section(square(60, 30.0))
    with pytest.raises(ValueError, match=r"square lattice of 3,600 spots is larger .* Pass pitch_um="):
        hq.io.estimate_mpp(adata)
    assert hq.io.estimate_mpp(adata, pitch_um=8) == pytest.approx(8 / 30)


@pytest.mark.parametrize("n_spots", [3, 50, 2000])
def test_cells_are_on_no_lattice(n_spots):
    spatial = np.random.default_rng(0).random((n_spots, 2)) * 1000
    with pytest.raises(ValueError, match=r"form no square or hexagonal lattice.*Take mpp from the scanner"):
        hq.io.estimate_mpp(section(spatial))


def test_spots_in_one_line_are_no_lattice():
    spatial = np.column_stack([np.arange(30) * 100.0, np.zeros(30)])
    with pytest.raises(ValueError, match=r"form no square or hexagonal lattice"):
        hq.io.estimate_mpp(section(spatial))


@pytest.mark.parametrize("unit", ["micron", "array"])
def test_coordinates_that_are_no_pixels_are_refused(unit):
    adata = section(square(8, 100.0))
    hq.io.record_coordinates(adata, unit)
    with pytest.raises(ValueError, match=f"declared in {unit} units"):
        hq.io.estimate_mpp(adata)


def test_undeclared_array_positions_are_refused():
    with pytest.raises(ValueError, match=r"look like row and column numbers of the array, not pixels"):
        hq.io.estimate_mpp(section(square(8, 1.0)))


def test_missing_coordinates_and_bad_numbers():
    with pytest.raises(KeyError, match=r"'elsewhere' is not in adata.obsm"):
        hq.io.estimate_mpp(section(square(8, 100.0)), spatial_key="elsewhere")
    with pytest.raises(ValueError, match=r"pitch_um must be positive, got 0"):
        hq.io.estimate_mpp(section(square(8, 100.0)), pitch_um=0)


def test_record_coordinates_writes_what_it_was_told():
    adata = section(square(3, 1.0))
    hq.io.record_coordinates(adata, "pixel", mpp=0.5, pitch_um=100)
    assert adata.uns["histoquilt"]["coordinates"] == {"unit": "pixel", "mpp": 0.5, "pitch_um": 100.0}
    hq.io.record_coordinates(adata, "unknown")
    assert adata.uns["histoquilt"]["coordinates"] == {"unit": "unknown"}
    with pytest.raises(ValueError, match=r"Unknown coordinate unit 'inch'; known are pixel, micron, array, unknown"):
        hq.io.record_coordinates(adata, "inch")
    with pytest.raises(ValueError, match=r"mpp is microns per pixel, but the unit given is 'micron'"):
        hq.io.record_coordinates(adata, "micron", mpp=0.5)
    with pytest.raises(ValueError, match=r"mpp must be positive, got -1"):
        hq.io.record_coordinates(adata, "pixel", mpp=-1)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "pitch_um"),
    [("dlpfc/151673", 100), ("dlpfc_pca/151507", 100), ("her2st/A1", 200), ("her2st/C2", 200), ("her2st/H1", 200)],
)
def test_real_sections_agree_with_their_array_columns(data_dir, file, pitch_um):
    """The pitch by least squares from the array positions, which estimate_mpp does not look at."""
    adata = hq.io.read_h5ad(data_dir / f"{file}.h5ad")
    if "array_col" in adata.obs:  # columns of one row are two apart, so half a pitch each
        ideal = adata.obs[["array_col", "array_row"]].to_numpy(float) * [0.5, np.sqrt(3) / 2]
    else:
        ideal = adata.obs[["array_x", "array_y"]].to_numpy(float)
    design = np.column_stack([ideal, np.ones(len(ideal))])
    linear = np.linalg.lstsq(design, adata.obsm["spatial"], rcond=None)[0][:2]
    pitch = np.sqrt(abs(np.linalg.det(linear)))
    assert hq.io.estimate_mpp(adata) == pytest.approx(pitch_um / pitch, rel=0.01)


@pytest.mark.real_data
def test_real_bulb_has_32_pixels_from_spot_to_spot_and_real_cells_have_no_lattice(data_dir):
    assert hq.io.estimate_mpp(hq.io.read_h5ad(data_dir / "mob" / "MOB1.h5ad")) == pytest.approx(200 / 32, rel=0.02)
    with pytest.raises(ValueError, match=r"1,207 positions .* form no square or hexagonal lattice"):
        hq.io.estimate_mpp(hq.io.read_h5ad(data_dir / "starmap" / "visual_cortex_BY3_1k.h5ad"))
    with pytest.raises(ValueError, match=r"look like row and column numbers"):
        hq.io.estimate_mpp(hq.io.read_h5ad(data_dir / "mob_layers" / "rep11.h5ad"))
