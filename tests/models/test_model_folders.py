"""Model cards, and folders of models: described, checked and copied, also from the hub's cache, offline."""

import hashlib
import json
import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from histoquilt.datasets import paired_study
from histoquilt.models import (
    NearestNeighbours,
    RidgeConfig,
    RidgeOnEmbedding,
    check_model,
    describe_model,
    find_models,
    load,
    pull_model,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def _model(tmp_path_factory) -> Path:
    study = paired_study(n_sections=3, n_spots=60, n_genes=20, kind="pairing", seed=0)
    for adata in study.values():
        adata.uns["histoquilt"]["X_image"] = {
            "encoder": "he_texture", "digest": "0" * 64, "field_um": 100.0, "licence": "BSD-3-Clause", "input_mpp": 1.0,
        }  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "ridge"
    RidgeOnEmbedding(RidgeConfig.plain()).fit(study, use_rep="X_image", seed=4).save(folder)
    return folder


@pytest.fixture
def model(_model, tmp_path) -> Path:
    return shutil.copytree(_model, tmp_path / "mine" / "ridge")


def test_a_card_says_what_the_model_knows(model):
    card, trained = (model / "README.md").read_text(), load(model)
    reliability = trained.fitted.reliability
    for words in (
        "# RidgeOnEmbedding: expression from H&E",
        "seed 4",
        "3 sections of 3 individuals or groups, 180 spots, 100 um apart",
        "| s1 | ",
        "`he_texture`, fields of 100 um; licence of the weights: BSD-3-Clause",
        f"| median correlation, raw | {np.median(reliability.correlation):.3f} |",
        f"| median correlation at equal depth | {np.median(reliability.adjusted):.3f} |",
        f"| genes better than the training mean | {reliability.beats_mean.sum()} |",
        "Licence of the data: not recorded",
        "not for diagnosis",
    ):
        assert words in card
    assert "measured expression of its training sections" not in card
    assert card.startswith("---\nlibrary_name: histoquilt\n")


def test_a_model_that_holds_expression_says_so_in_its_card(tmp_path):
    study = paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    NearestNeighbours().fit(study, use_rep="X_image").save(tmp_path / "knn")
    card = (tmp_path / "knn" / "README.md").read_text()
    assert "**Contains the measured expression of its training sections**" in card
    assert "Not recorded: the embeddings ('X_image') came from elsewhere." in card


def test_the_card_of_a_domain_model(pca_model, section, tmp_path):
    pca_model.save(tmp_path / "domains")
    card = (tmp_path / "domains" / "README.md").read_text()
    assert f"# {type(pca_model).__name__}: tissue domains" in card
    assert f"{section.n_obs:,} spots of one section" in card
    assert f"from {len(pca_model.genes):,} genes" in card
    found = describe_model(tmp_path / "domains")
    assert (found.kind, found.n_genes, found.n_spots, found.scores) == (
        "domains", len(pca_model.genes), section.n_obs, {},
    )  # fmt: skip
    assert check_model(tmp_path / "domains") == []


def test_a_folder_is_described_without_its_weights(model, tmp_path):
    found, trained = describe_model(model), load(model)
    assert (found.model, found.kind, found.n_genes, found.n_sections, found.n_spots) == (
        "RidgeOnEmbedding", "expression", 20, 3, 180,
    )  # fmt: skip
    assert found.scores["pcc_median"] == pytest.approx(np.median(trained.fitted.reliability.correlation))
    assert found.encoders[0]["fields_um"] == [100.0]
    assert found.licence == "not recorded"
    assert list(find_models(tmp_path)) == [model]
    assert list(find_models(model)) == [model]


def test_a_licence_in_the_card_is_read_and_the_card_is_free_to_edit(model):
    digest = describe_model(model).digest
    card = model / "README.md"
    card.write_text(card.read_text().replace("library_name:", "license: cc-by-4.0\nlibrary_name:", 1))
    assert describe_model(model).licence == "cc-by-4.0"
    assert describe_model(model).digest == digest


def test_what_a_check_finds(model):
    [told] = check_model(model)  # its encoder was invented above
    assert "The encoder he_texture is another one now" in told
    (model / "genes.txt").write_text((model / "genes.txt").read_text().replace("\n", "x\n", 1))
    (model / "README.md").unlink()
    facts = json.loads((model / "provenance.json").read_text())
    facts["histoquilt"] = "999.1"
    facts["encoders"]["X_image"]["encoder"] = "onnx:none.onnx"
    (model / "provenance.json").write_text(json.dumps(facts))
    config = model / "config.json"
    config.write_text(config.read_text().replace("RidgeOnEmbedding", "RidgeFromAbroad"))
    told = " ".join(check_model(model))
    for words in (
        "genes.txt is not the file that was saved", "config.json is not the file that was saved",
        "class 'RidgeFromAbroad' is not known", "saved by histoquilt 999.1", "has no README.md", "none.onnx",
    ):  # fmt: skip
        assert words in told
    (model / "arrays.npz").unlink()
    assert check_model(model) == [f"{model} is not a complete histoquilt model: arrays.npz missing."]


def test_a_local_folder_is_copied(model, tmp_path, caplog):
    (model / "evil.pkl").write_bytes(b"\x80\x04.")
    digest = describe_model(model).digest
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        out = pull_model(model, tmp_path / "copy", digest=digest[:12])
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["README.md", "arrays.npz", "config.json", "genes.txt", "provenance.json", "weights.safetensors"]
    )
    assert describe_model(out).digest == digest
    assert load(out).genes == load(model).genes
    first = caplog.messages[0]
    assert first.endswith("licence of the model: not recorded.")
    assert "licence of the encoder he_texture: BSD-3-Clause." in caplog.messages[1]


def in_cache(model: Path, cache: Path) -> Path:
    """Store a model as the hub's library does: blobs, links to them, and the commit that a branch stands for."""
    repository = cache / "models--lab--brca"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for number, path in enumerate(sorted(model.iterdir())):
        shutil.copy(path, repository / "blobs" / f"blob{number}")
        (snapshot / path.name).symlink_to(Path("..") / ".." / "blobs" / f"blob{number}")
    return repository


def test_a_repository_in_the_cache_of_the_hub_offline(model, tmp_path, caplog):
    pytest.importorskip("huggingface_hub")
    in_cache(model, tmp_path / "cache")
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        out = pull_model("lab/brca", tmp_path / "copy", revision=COMMIT, cache=tmp_path / "cache", offline=True)
    assert load(out).genes == load(model).genes
    assert not any(path.is_symlink() for path in out.iterdir())
    assert caplog.messages[0] == "lab/brca: licence of the model: not recorded."
    other = "f" * 40
    with pytest.raises(FileNotFoundError, match="was not found in the cache"):
        pull_model("lab/brca", tmp_path / "other", revision=other, cache=tmp_path / "cache", offline=True)
    assert not (tmp_path / "other").exists()


def test_the_cache_folder_itself_is_a_source(model, tmp_path):
    repository = in_cache(model, tmp_path / "cache")
    assert load(pull_model(repository, tmp_path / "copy")).n_genes == 20
    with pytest.raises(ValueError, match=f"holds the commits {COMMIT}"):
        pull_model(repository, tmp_path / "other", revision="f" * 40)


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        ("lab/brca", {}, ValueError, "named with its commit, 40 hexadecimal digits"),
        ("lab/brca", {"revision": "main"}, ValueError, "got main"),
        ("nowhere", {}, FileNotFoundError, "There is no model folder nowhere"),
        (None, {"revision": COMMIT}, ValueError, "has no revisions"),
        (None, {"digest": "0" * 64}, ValueError, "It is another model, or it was changed"),
        (None, {"digest": "00"}, ValueError, "12 or more digits"),
    ],
)
def test_what_is_not_copied(model, tmp_path, source, options, error, words):
    with pytest.raises(error, match=words):
        pull_model(model if source is None else source, tmp_path / "copy", **options)
    assert not (tmp_path / "copy").exists()


def test_a_changed_file_or_a_pickle_is_not_copied(model, tmp_path):
    genes = (model / "genes.txt").read_text()
    (model / "genes.txt").write_text(genes.replace("\n", "x\n", 1))
    with pytest.raises(ValueError, match=r"genes\.txt is not the file that was saved"):
        pull_model(model, tmp_path / "copy")
    (model / "genes.txt").write_text(genes)
    np.savez(model / "arrays.npz", **{"reliability.correlation": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match=r"corrupted|plain arrays"):
        pull_model(model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def change_record(model: Path, name: str, change) -> None:
    record = json.loads((model / name).read_text())
    change(record)
    (model / name).write_text(json.dumps(record))


def record_digests(model: Path) -> None:
    """Make the record agree with the files, as somebody with bad intentions would."""
    digests = json.loads((model / "provenance.json").read_text())["files"]
    now = {name: hashlib.sha256((model / name).read_bytes()).hexdigest() for name in digests}
    change_record(model, "provenance.json", lambda facts: facts.update(files=now))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda model: (model / "provenance.json").write_text("{"),
        lambda model: (model / "provenance.json").write_text('[["files", 1]]'),
        lambda model: (model / "config.json").write_text("null"),
        lambda model: (model / "arrays.npz").write_bytes((model / "arrays.npz").read_bytes()[:-200]),
        lambda model: change_record(model, "provenance.json", lambda facts: facts.update(encoders=["he_texture"])),
        lambda model: change_record(model, "provenance.json", lambda facts: facts.update(sections=[{"n_spots": "x"}])),
    ],
    ids=["no JSON", "a list", "null", "truncated arrays", "encoders without names", "spots as text"],
)
def test_a_damaged_folder_is_told_by_all_who_read_it(model, tmp_path, spoil):
    spoil(model)
    [told] = check_model(model)
    assert "is corrupted" in told
    with pytest.raises(ValueError, match="is corrupted"):
        describe_model(model)
    with pytest.raises(ValueError, match=r"is corrupted|is damaged"):
        pull_model(model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("files", [["genes.txt"], {"genes.txt": "0" * 64}, {"../../x": "0" * 64}], ids=str)
def test_digests_of_some_files_are_not_enough(model, tmp_path, files):
    change_record(model, "provenance.json", lambda facts: facts.update(files=files))
    told = "provenance.json must record digests of 'weights.safetensors', 'config.json', 'arrays.npz', 'genes.txt'"
    assert told in check_model(model)[0]
    with pytest.raises(ValueError, match=told):
        pull_model(model, tmp_path / "copy")


def test_a_model_without_digests_is_copied_with_a_warning(model, tmp_path):
    change_record(model, "provenance.json", lambda facts: facts.pop("files"))
    with pytest.warns(UserWarning, match="records no digests of its files"):
        pull_model(model, tmp_path / "copy")


@pytest.mark.parametrize("name", ["weights.safetensors", "arrays.npz"])
def test_a_pickle_whose_digest_is_recorded_is_found(model, tmp_path, name):
    if name == "arrays.npz":
        with np.load(model / name) as arrays:
            np.savez(model / name, **dict(arrays), more=np.array([{}], dtype=object))
    else:
        (model / name).write_bytes(pickle.dumps({"weight": 1}))
    record_digests(model)
    assert f"{name} does not hold plain" in check_model(model)[0]
    with pytest.raises(ValueError, match=rf"{name} does not hold plain .* The model is not copied"):
        pull_model(model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["README.md", "genes.txt"])
def test_a_link_to_elsewhere_is_not_copied(model, tmp_path, name):
    (tmp_path / "secret").write_bytes((model / name).read_bytes())
    (model / name).unlink()
    (model / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=rf"{name} is a link to .*secret, outside of"):
        pull_model(model, tmp_path / "copy")
    repository = in_cache(model, tmp_path / "cache")
    snapshot = repository / "snapshots" / COMMIT
    assert load(pull_model(snapshot, tmp_path / "copy")).n_genes == 20  # to the blobs
    (snapshot / name).unlink()
    (snapshot / name).symlink_to("../../../../secret")
    with pytest.raises(ValueError, match="outside of"):
        pull_model(repository, tmp_path / "other")


def test_files_of_others_are_never_replaced(model, tmp_path):
    home, file = tmp_path / "home", tmp_path / "notes"
    home.mkdir()
    (home / "thesis.txt").write_text("mine")
    file.write_text("mine")
    trained = load(model)
    for write in (
        lambda out: pull_model(model, out, overwrite=True),
        lambda out: trained.save(out, overwrite=True),
    ):
        with pytest.raises(FileExistsError, match=r"not of a model \('thesis\.txt'\) and would be lost"):
            write(home)
        with pytest.raises(FileExistsError, match="notes is a file"):
            write(file)
    with pytest.raises(FileExistsError, match="'home'"):
        pull_model(model, tmp_path, overwrite=True)  # the source lies there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "mine", "notes"]
    assert pull_model(pull_model(model, tmp_path / "copy"), tmp_path / "copy", overwrite=True).is_dir()  # its own place
