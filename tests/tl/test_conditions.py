"""Conditions of toy studies: planted differences are found, nothing without them, and limits are reported."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation
from scipy.stats import ttest_rel

import histoquilt as hq
from histoquilt.metrics import ConditionComparison
from histoquilt.tl import compare_conditions
from histoquilt.tl.compare._markers import _log_cpm
from histoquilt.tl.compare._shape import domain_shapes

TRUE = "domain_true"


@pytest.fixture(scope="module")
def _study():
    return hq.datasets.toy_conditions(n_patients=3, n_spots=160, n_genes=50, n_domains=3, seed=0)


@pytest.fixture
def study(_study):
    return {name: section.copy() for name, section in _study.items()}


def name(study, column, values):
    """Write one value per section into a column of obs."""
    for section, value in zip(study.values(), values, strict=True):
        section.obs[column] = value


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_differences_are_found_between_patients(seed):
    pytest.importorskip("shapely")
    sections = hq.datasets.toy_conditions(seed=seed)
    found = compare_conditions(sections, domain_key=TRUE)
    layer2 = found.proportions.set_index("domain").loc["layer2"]
    assert layer2["p_adjusted"] < 0.05
    assert layer2["mean_condition"] > 1.5 * layer2["mean_reference"]
    planted = sections["p1"].var_names[sections["p1"].var["changes_in"] == "layer1"]
    markers = found.markers[found.markers["p_adjusted"] < 0.05]
    of_layer = markers[markers["domain"] == "layer1"]
    assert of_layer["gene"].isin(planted).sum() > len(planted) / 2
    assert (of_layer.loc[of_layer["gene"].isin(planted), "log2_fold_change"] < -0.5).all()
    assert (~markers["gene"].isin(planted)).sum() <= 1
    area = found.shape.set_index(["domain", "measure"]).loc[("layer2", "area")]
    assert area["difference"] > 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_found_without_differences(seed):
    found = compare_conditions(hq.datasets.toy_conditions(changed=False, seed=seed), domain_key=TRUE)
    assert found.found()["proportions"] == 0
    assert found.found()["markers"] == 0


def test_one_anndata_a_dict_and_a_list_give_the_same_tables(study, tmp_path):
    of_dict = compare_conditions(study, domain_key=TRUE)
    of_list = compare_conditions(list(study.values()), domain_key=TRUE)
    joint = hq.io.concat_sections(study)
    of_joint = compare_conditions(joint, domain_key=TRUE)
    for other in (of_list, of_joint):
        for key in ("proportions", "neighbours", "shape", "markers", "values", "contrasts"):
            pd.testing.assert_frame_equal(getattr(of_dict, key), getattr(other, key), check_dtype=False)
    assert "conditions" not in study["p1"].uns
    hq.io.write_h5ad(joint, tmp_path / "joint.h5ad")
    restored = ConditionComparison(**hq.io.read_h5ad(tmp_path / "joint.h5ad").uns["conditions"])
    pd.testing.assert_frame_equal(
        restored.proportions.astype({"domain": object}),
        of_joint.proportions,
        check_dtype=False,
        check_categorical=False,
    )
    assert restored.facts["reference"] == "control"
    assert not restored.contrasts["paired"].iloc[0]


def test_the_order_of_spots_and_the_place_of_sections_do_not_matter(study):
    before = compare_conditions(study, domain_key=TRUE)
    turned = {}
    for number, (key, section) in enumerate(study.items()):
        other = section[np.random.default_rng(number).permutation(section.n_obs)].copy()
        turn = Rotation.from_euler("z", 30 * number, degrees=True).as_matrix()[:2, :2]
        other.obsm["spatial"] = other.obsm["spatial"] @ turn + 1000 * number
        turned[key] = other
    after = compare_conditions(turned, domain_key=TRUE)
    pd.testing.assert_frame_equal(before.proportions, after.proportions)
    pd.testing.assert_frame_equal(before.markers, after.markers)
    pd.testing.assert_frame_equal(before.neighbours, after.neighbours)
    pd.testing.assert_frame_equal(
        before.shape.drop(columns="p_permutation"), after.shape.drop(columns="p_permutation"), rtol=0.05, atol=0.05
    )


def test_more_sections_of_a_patient_are_no_more_patients(study):
    one = compare_conditions(study, domain_key=TRUE)
    twice = {**study, **{f"{key}b": section.copy() for key, section in study.items()}}
    for key in study:  # the same tissue again: nothing new is known
        twice[f"{key}b"].obs["section"] = f"{key}b"
    two = compare_conditions(twice, domain_key=TRUE)
    assert two.facts["n_sections"] == 12
    assert two.facts["n_patients"] == 6
    pd.testing.assert_frame_equal(one.proportions, two.proportions)
    pd.testing.assert_series_equal(one.contrasts["smallest_p"], two.contrasts["smallest_p"])


def test_patients_with_both_conditions_are_paired(study):
    name(study, "patient", ["a", "b", "c"] * 2)
    with pytest.warns(
        UserWarning, match=r"3 patients have both conditions: permutations of so few give no p below 0\.25"
    ):
        found = compare_conditions(study, domain_key=TRUE)
    assert found.contrasts["paired"].tolist() == [True]
    wide = (
        vars(found)["values"]
        .query("measure == 'log_ratio' and domain == 'layer2'")
        .pivot_table(index="patient", columns="condition", values="value")
    )
    p = found.proportions.set_index("domain").loc["layer2", "p"]
    assert p == pytest.approx(ttest_rel(wide["treated"], wide["control"]).pvalue)


def test_a_patient_in_both_conditions_unlike_the_others_is_left_out(study):
    name(study, "patient", ["a", "b", "c", "a", "d", "e"])
    with pytest.warns(UserWarning, match="1 patients are left out because they have both conditions, unlike most: 'a'"):
        found = compare_conditions(study, domain_key=TRUE)
    [contrast] = found.contrasts.to_dict("records")
    assert (contrast["paired"], contrast["n_condition"], contrast["n_reference"]) == (False, 2, 2)


def test_one_patient_per_condition_has_differences_and_no_p_values(study):
    name(study, "patient", ["a", "a", "a", "b", "b", "b"])
    with pytest.warns(UserWarning, match="treated against control: 1 and 1 patients: no p-values"):
        found = compare_conditions(study, domain_key=TRUE)
    for table in found.tables.values():
        assert len(table)
        assert table[["p", "p_adjusted"]].isna().all(axis=None)
    assert found.proportions["difference"].notna().all()
    assert found.contrasts["smallest_p"].iloc[0] == 1
    assert set(found.found().values()) == {0}


def test_a_condition_of_one_section_has_no_p_values(study):
    name(study, "condition", ["a"] * 5 + ["b"])
    with pytest.warns(UserWarning, match="1 and 5 patients: no p-values"):
        found = compare_conditions(study, domain_key=TRUE)
    assert found.proportions["p"].isna().all()


def test_three_conditions_are_each_compared_with_the_reference(study):
    name(study, "condition", ["b", "b", "a", "a", "c", "c"])
    found = compare_conditions(study, domain_key=TRUE, reference="b")
    assert found.contrasts["condition"].tolist() == ["a", "c"]
    assert set(found.contrasts["reference"]) == {"b"}
    assert found.proportions.groupby("condition").size().to_dict() == {"a": 3, "c": 3}


def test_a_domain_absent_in_a_section(study):
    for key in ("p1", "p4"):
        column = study[key].obs[TRUE].astype(str)
        study[key].obs[TRUE] = column.replace("island1", "layer1")
    found = compare_conditions(study, domain_key=TRUE)
    values = vars(found)["values"].query("domain == 'island1' and section == 'p1'").set_index("measure")["value"]
    assert values["proportion"] == 0
    assert np.isfinite(values["log_ratio"])
    assert "area" not in values  # an absent domain has no shape
    area = found.shape.set_index(["domain", "measure"]).loc[("island1", "area")]
    assert area[["n_reference", "n_condition"]].tolist() == [2, 2]
    assert found.proportions.set_index("domain").loc["island1", "n_reference"] == 3
    assert (found.markers.query("domain == 'island1'")[["n_reference", "n_condition"]] == 2).all(axis=None)


def test_unlabelled_spots_do_not_count(study):
    column = study["p1"].obs[TRUE].astype(object)
    column.iloc[:40] = None
    study["p1"].obs[TRUE] = column
    found = compare_conditions(study, domain_key=TRUE)
    shares = vars(found)["values"].query("section == 'p1' and measure == 'proportion'")["value"]
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("column", "values", "options", "error", "message"),
    [
        ("condition", ["a"] * 6, {}, ValueError, r"All 6 sections have the condition 'a' in obs\['condition'\]"),
        ("condition", ["a", "b", None, "a", "b", "a"], {}, ValueError, r"empty in 1 of 6 sections: 'p3'\. Fill it in"),
        ("patient", ["a", "b", None, "c", "d", "e"], {}, ValueError, r"obs\['patient'\] is empty in 1 of 6 sections"),
        ("x", [0] * 6, {"condition_key": "arm"}, KeyError, "'arm' is not in obs of any section"),
        ("x", [0] * 6, {"patient_key": "donor"}, KeyError, "'donor' is not in obs of any section .*patient_key="),
        ("x", [0] * 6, {"reference": "healthy"}, ValueError, "reference='healthy' is not in .*'control', 'treated'"),
        ("x", [0] * 6, {"domain_key": "domain"}, KeyError, "'domain' is not in adata.obs"),
        (TRUE, ["layer1"] * 6, {}, ValueError, "holds one domain, 'layer1'"),
        (TRUE, [None] + ["layer1"] * 5, {}, ValueError, "of section 'p1' is empty"),
    ],
)
def test_bad_input_is_named(study, column, values, options, error, message):
    name(study, column, values)
    with pytest.raises(error, match=message):
        compare_conditions(study, **{"domain_key": TRUE, **options})


def test_two_conditions_in_one_section_are_an_error(study):
    study["p1"].obs["condition"] = ["a", "b"] * 80
    with pytest.raises(ValueError, match=r"'condition'.* of section 'p1' must be one value for all spots"):
        compare_conditions(study, domain_key=TRUE)


def test_patients_who_are_not_named_count_by_section(study):
    for section in study.values():
        del section.obs["patient"]
    with pytest.warns(UserWarning, match="No section names its patient"):
        found = compare_conditions(study, domain_key=TRUE)
    assert not found.facts["patients_known"]
    assert found.facts["n_patients"] == 6


def test_domains_found_section_by_section_are_warned_of(study):
    for section in study.values():
        hq.tl.spatial_domains(section, 3, denoise=False, progress=False)
    with pytest.warns(UserWarning, match="found section by section"):
        compare_conditions(study)


def test_a_change_of_one_domain_is_specific_and_one_of_the_whole_tissue_is_not(study):
    gene, everywhere = study["p1"].var_names[np.argsort(-study["p1"].X.toarray().sum(axis=0))[:2]]
    for section in study.values():
        counts = section.X.toarray()
        if section.obs["condition"].iloc[0] == "treated":
            in_island = (section.obs[TRUE] == "island1").to_numpy()
            counts[np.ix_(in_island, section.var_names == gene)] *= 8
            counts[:, section.var_names == everywhere] *= 8
        section.X = csr_matrix(counts)
    table = compare_conditions(study, domain_key=TRUE).markers.set_index(["domain", "gene"])
    assert table.loc[("island1", gene), "specific_fold_change"] > 1.5
    assert table.loc[("island1", gene), "p_specific_adjusted"] < 0.05
    assert (table.loc[(slice(None), everywhere), "log2_fold_change"] > 1.5).all()
    assert (table.loc[(slice(None), everywhere), "specific_fold_change"].abs() < 1).all()


def test_a_few_strong_genes_do_not_move_the_others():
    counts = pd.DataFrame(np.tile([1000.0, 200, 50, 30, 20], (4, 1)))
    counts.iloc[2:, 0] *= 50
    log = _log_cpm(counts, counts.sum(axis=1))
    np.testing.assert_allclose(np.ptp(log.iloc[:, 1:], axis=0), 0, atol=0.05)
    assert log.iloc[2, 0] - log.iloc[0, 0] == pytest.approx(np.log2(50), abs=0.05)


def test_domains_too_small_for_expression_have_no_markers(study):
    found = compare_conditions(study, domain_key=TRUE, min_spots=1000)
    assert found.markers.empty
    assert found.found()["markers"] == 0


def test_without_raw_counts_there_are_no_markers(study):
    for section in study.values():
        section.X = section.X.log1p()
        section.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}
    with pytest.warns(UserWarning, match="Markers are left out.*holds log1p_cp10k, not raw counts"):
        found = compare_conditions(study, domain_key=TRUE)
    assert found.markers.empty
    assert len(found.proportions)


def test_without_shapely_there_are_no_shapes(study, monkeypatch):
    monkeypatch.setattr("histoquilt.tl.compare._measure.is_installed", lambda module: False)
    with pytest.warns(UserWarning, match=r"Shape of domains is left out: it needs shapely.*histoquilt\[export\]"):
        found = compare_conditions(study, domain_key=TRUE)
    assert found.shape.empty
    assert len(found.neighbours)


def test_lengths_are_pitches_where_microns_are_not_known(study):
    pytest.importorskip("shapely")
    rng = np.random.default_rng(0)
    for section in study.values():  # no lattice, which would tell microns
        section.obsm["spatial"] = section.obsm["spatial"] + rng.uniform(-40, 40, (section.n_obs, 2))
    in_um = compare_conditions(study, domain_key=TRUE)
    pitch = hq.study.spot_pitch(study["p1"].obsm["spatial"])
    for section in study.values():
        section.uns["histoquilt"]["coordinates"] = {"unit": "unknown"}
        section.obsm["spatial"] = section.obsm["spatial"] * 3.7
    found = compare_conditions(study, domain_key=TRUE)
    assert (in_um.facts["unit"], found.facts["unit"]) == ("um", "pitch")
    areas = [
        vars(one)["values"].query("section == 'p1' and measure == 'area'")["value"].to_numpy() for one in (in_um, found)
    ]
    np.testing.assert_allclose(areas[1], areas[0] / pitch**2, rtol=1e-3)


def test_the_shape_of_rectangles_on_a_square_lattice():
    pytest.importorskip("shapely")
    x, y = np.meshgrid(np.arange(20.0), np.arange(10.0))
    points = 50 * np.column_stack([x.ravel(), y.ravel()])
    codes = np.where(x.ravel() < 16, 0, 1)
    codes[(x.ravel() >= 2) & (x.ravel() < 4) & (y.ravel() == 5)] = 3  # inside domain 0
    found = domain_shapes(points, codes, 4)
    step = 50
    np.testing.assert_allclose(found[0, :2], [158 * step**2, (2 * (16 + 10) + 6) * step], rtol=1e-6)
    np.testing.assert_allclose(found[1], [40 * step**2, 28 * step, 2.5, 1, found[1, 4]], rtol=1e-6)
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(found[3], [2 * step**2, 6 * step, 2, 1, 3.0 * step], rtol=1e-6)
    assert found[0, 2] == pytest.approx(1.6)
    codes[x.ravel() == 8] = 1  # domain 0 in two pieces, domain 1 in two
    assert domain_shapes(points, codes, 4)[:2, 3].tolist() == [2, 2]
