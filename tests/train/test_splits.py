"""Splits: nobody stands on both sides."""

import logging

import pandas as pd
import pytest

from histoquilt.train import Split, check_split, inner_folds, leave_one_out, section_groups


def table(patients, slides=None, names=None) -> pd.DataFrame:
    found = pd.DataFrame({"patient": patients}, index=names or [f"s{i}" for i in range(len(patients))])
    return found if slides is None else found.assign(slide=slides)


def test_by_patient_holds_out_all_sections_of_one():
    splits = leave_one_out(table(["A", "A", "B", "C"]))
    assert [(split.fold, split.test) for split in splits] == [("A", ["s0", "s1"]), ("B", ["s2"]), ("C", ["s3"])]
    for split in splits:
        assert sorted(split.train + split.test) == ["s0", "s1", "s2", "s3"]
        assert not split.optimistic


def test_patients_that_share_a_slide_stay_together():
    """The mice of the ALS study: 765 and 794 lie on the slides CN51_C2 and CN52_C2."""
    mice = ["765", "794", "765", "794", "652", "652"]
    slides = ["CN51_C2", "CN51_C2", "CN52_C2", "CN52_C2", "CN63_C1", "CN63_E2"]
    splits = leave_one_out(table(mice, slides))
    assert [split.fold for split in splits] == ["765+794", "652"]
    assert splits[0].train == ["s4", "s5"]


def test_links_through_a_third_patient_count():
    groups = section_groups(table(["A", "B", "B", "C", "D"], ["x", "x", "y", "y", "z"]))
    assert [groups[f"s{i}"] for i in range(5)] == ["A+B+C"] * 4 + ["D"]


def test_a_section_without_a_slide_shares_none():
    groups = section_groups(table(["A", "B", "C"], ["x", None, ""]))
    assert list(groups.values()) == ["A", "B", "C"]


def test_a_patient_and_a_slide_of_one_name_are_not_the_same():
    assert list(section_groups(table(["x", "A"], ["y", "x"])).values()) == ["x", "A"]


def test_numbers_are_names_too():
    assert list(section_groups(table([765, 794])).values()) == ["765", "794"]


def test_by_section_is_optimistic_and_says_so(caplog):
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        splits = leave_one_out(table(["A", "A", "B"]), by="section")
    assert [split.fold for split in splits] == ["s0", "s1", "s2"]
    assert [split.optimistic for split in splits] == [True, True, False]  # s2 is the only one of its patient
    assert "in 2 of 3 folds" in caplog.text
    assert "optimistic" in caplog.text
    unknown = pd.DataFrame(index=["s0", "s1"])
    assert all(split.optimistic for split in leave_one_out(unknown, by="section"))


def test_what_leave_one_out_refuses():
    with pytest.raises(ValueError, match=r"All 2 section\(s\) belong to C.*another patient, or leave out by='section'"):
        leave_one_out(table(["C", "C"]))
    with pytest.raises(ValueError, match=r"belong to A\+B: held out"):
        leave_one_out(table(["A", "B"], ["x", "x"]))
    with pytest.raises(ValueError, match=r"No patient is given for the section\(s\) 's1'"):
        leave_one_out(table(["A", None, "B"]))
    with pytest.raises(KeyError, match=r"no column 'patient'.*found: 'donor'"):
        leave_one_out(table(["A", "B"]).rename(columns={"patient": "donor"}))
    with pytest.raises(ValueError, match="by must be 'patient', 'section' or 'fold', got 'spot'"):
        leave_one_out(table(["A", "B"]), by="spot")
    with pytest.raises(ValueError, match="one section only"):
        leave_one_out(table(["A"]), by="section")
    with pytest.raises(ValueError, match="table of sections is empty"):
        leave_one_out(table([]))
    with pytest.raises(ValueError, match="names sections twice: 's'"):
        leave_one_out(table(["A", "B"], names=["s", "s"]))


def test_every_split_of_ours_passes_its_own_check():
    study = table(["A", "A", "B", "C"], ["x", "x", "y", "y"])
    for by in ("patient", "section"):
        for split in leave_one_out(study, by=by):
            check_split(split, study)


def test_a_hand_made_split_that_leaks_is_refused():
    study = table(["A", "A", "B", "C"], ["x", "x", "y", "y"])
    with pytest.raises(ValueError, match=r"patient 'A' on both sides \(train: 's0'; test: 's1'\)"):
        check_split(Split("mine", ["s0", "s2", "s3"], ["s1"], False), study)
    with pytest.raises(ValueError, match=r"patients that share a slide 'B\+C' on both sides"):
        check_split(Split("mine", ["s0", "s1", "s2"], ["s3"], False), study)
    check_split(Split("mine", ["s0", "s2", "s3"], ["s1"], optimistic=True), study)  # it says what it is
    with pytest.raises(ValueError, match=r"'s1' are in train and in test"):
        check_split(Split("mine", ["s0", "s1"], ["s1"], optimistic=True), study)
    with pytest.raises(KeyError, match="does not have: 's9'"):
        check_split(Split("mine", ["s0"], ["s9"], False), study)
    with pytest.raises(ValueError, match=r"names 's0' twice in train"):
        check_split(Split("mine", ["s0", "s2", "s0"], ["s1"], optimistic=True), study)
    with pytest.raises(ValueError, match="has no train section"):
        check_split(Split("mine", [], ["s1"], False), study)
    with pytest.raises(KeyError, match="no column 'patient'"):
        check_split(Split("mine", ["s0"], ["s1"], False), study.drop(columns="patient"))


def test_inner_folds_hold_out_groups():
    groups = {"s0": "A", "s1": "A", "s2": "B", "s3": "C", "held": "D"}
    folds = inner_folds(["s0", "s1", "s2", "s3"], groups)
    assert [fold.test for fold in folds] == [["s0", "s1"], ["s2"], ["s3"]]
    assert all("held" not in fold.train for fold in folds)
    assert not any(fold.optimistic for fold in folds)


def test_inner_folds_of_one_patient_fall_back_to_sections(caplog):
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        folds = inner_folds(["s0", "s1", "s2"], dict.fromkeys(["s0", "s1", "s2"], "C"))
    assert [fold.test for fold in folds] == [["s0"], ["s1"], ["s2"]]
    assert all(fold.optimistic for fold in folds)
    assert "one patient (C)" in caplog.text


def test_many_groups_are_dealt_into_even_folds():
    sections = [f"s{i}" for i in range(12)]
    groups = dict(zip(sections, "AAAABBCCDEFG", strict=True))
    folds = inner_folds(sections, groups, max_folds=3)
    assert sorted(len(fold.test) for fold in folds) == [4, 4, 4]
    for fold in folds:
        assert not {groups[name] for name in fold.train} & {groups[name] for name in fold.test}


def test_inner_folds_refuse_what_cannot_be_split():
    with pytest.raises(ValueError, match=r"one section only.*two sections or more"):
        inner_folds(["s0"])
    with pytest.raises(KeyError, match=r"No group is given for the section\(s\) 's1'"):
        inner_folds(["s0", "s1"], {"s0": "A"})
    with pytest.raises(ValueError, match="max_folds must be at least 2, got 1"):
        inner_folds(["s0", "s1"], max_folds=1)


@pytest.mark.real_data
def test_the_mice_of_the_spinal_cord(data_dir):
    from anndata import read_h5ad

    rows = {}
    for path in sorted((data_dir / "als_spinal_cord").glob("*.h5ad")):
        obs = read_h5ad(path, backed="r").obs
        rows[path.stem] = {"patient": str(obs["mouse"].iloc[0]), "slide": str(obs["image"].iloc[0])[:7]}
    splits = leave_one_out(pd.DataFrame.from_dict(rows, orient="index"))
    assert {split.fold: len(split.test) for split in splits} == {"765+794": 5, "652": 3}
    for split in splits:
        assert split.train
        assert not split.optimistic


def test_folds_of_a_column():
    table = pd.DataFrame({"patient": list("AABC"), "fold": [2, 2, "x", 2]}, index=["s1", "s2", "s3", "s4"])
    splits = leave_one_out(table, by="fold")
    assert [(split.fold, split.train, split.test) for split in splits] == [
        ("2", ["s3"], ["s1", "s2", "s4"]), ("x", ["s1", "s2", "s4"], ["s3"]),
    ]  # fmt: skip
    leaking = leave_one_out(table.assign(fold=list("abab")), by="fold")
    with pytest.raises(ValueError, match="Split 'a' leaks: patient 'A' on both sides"):
        check_split(leaking[0], table)


@pytest.mark.parametrize(
    ("fold", "told"),
    [
        (None, "no column 'fold'"),
        ([1, None, 2], r"No fold is given for the section\(s\) 's2'"),
        ([1, 1, 1], "in fold '1'"),
    ],
)
def test_folds_that_cannot_be_used(fold, told):
    table = pd.DataFrame({"patient": list("ABC")}, index=["s1", "s2", "s3"])
    table = table if fold is None else table.assign(fold=pd.Series(fold, index=table.index, dtype=object))
    with pytest.raises((KeyError, ValueError), match=told):
        leave_one_out(table, by="fold")
