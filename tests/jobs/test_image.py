"""``image`` of the domains job and its command: embedded, checked before work, recorded."""

import anndata as ad
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.cli import run
from histoquilt.jobs import JobError, find_domains

QUICK = {"progress": False, "denoise": "none", "levels": "none", "stability": "none"}


def test_the_command_embeds_the_images_of_a_table(study_folder, tmp_path, quick, capsys):
    out = tmp_path / "out"
    command = ["domains", study_folder / "samples.csv", "-k", 2, "-o", out, "--image", "edges", "-q", "--config", quick]
    command += ["--levels", "none", "--stability", "none"]
    assert run([str(part) for part in command]) == 0, capsys.readouterr().err
    section = ad.read_h5ad(out / "s0.h5ad")
    assert "X_he_texture" in section.obsm
    assert section.obsp["spatial_connectivities"].data.std() > 0.01
    assert list(section.uns["histoquilt"]["shared_factors"]["config"]["image_keys"]) == ["X_he_texture"]


@pytest.mark.parametrize("role", ["features", "only"])
def test_sections_on_their_own(study_folder, tmp_path, role):
    done = find_domains(
        study_folder / "samples.csv",
        tmp_path / "out",
        n_domains=2,
        image=role,
        separate=True,
        save_model=False,
        **QUICK,
    )
    assert set(done.n_found.values()) == {2}
    assert pd.read_csv(done.out / "domains.csv")["section"].nunique() == 3


def test_a_slide_without_genes(study_folder, tmp_path):
    """Spots and an embedding are enough."""
    section = hq.io.read_samples(study_folder / "samples.csv").sections["s0"]
    with hq.io.open_image(section) as slide:
        hq.im.embed_patches(section, slide, mpp=section.uns["histoquilt"]["image"]["mpp"], field_um=100, progress=False)
    bare = ad.AnnData(obs=section.obs[[]], obsm={key: section.obsm[key] for key in ("spatial", "X_he_texture")})
    bare.write_h5ad(tmp_path / "bare.h5ad")
    done = find_domains(
        tmp_path / "bare.h5ad", tmp_path / "out", n_domains=2, image="only", image_key="X_he_texture", **QUICK
    )
    assert done.n_found == {"bare": 2}


def test_sections_without_an_image_are_named_before_any_work(three_files, tmp_path, refused):
    told = refused("domains", *three_files, "-k", 3, "-o", tmp_path / "out", "--image", "features")
    assert "3 of 3 sections cannot be used" in told
    assert "neither an image nor an image embedding" in told
    assert "--image-key" in told
    assert "image_key=" not in told


def test_spots_outside_the_image_are_told_before_any_work(study_folder, tmp_path):
    path = next(study_folder.glob("s1*.h5ad"))
    section = ad.read_h5ad(path)
    section.obsm["spatial"] = section.obsm["spatial"] + 1e5
    section.write_h5ad(path)
    with pytest.raises(JobError, match="spots fall outside the image"):
        find_domains(study_folder / "samples.csv", tmp_path / "out", n_domains=2, image="edges", **QUICK)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "nodes"}, "image= is none, edges, features or only, got 'nodes'"),
        ({"image": "only", "denoise": "all"}, "image='only' replaces the genes, so nothing can be denoised"),
        ({"image_key": "X_image"}, "image_key= is of the image, which is not used"),
        ({"image": "edges", "image_key": "X_image"}, "'X_image' is not in adata.obsm"),
    ],
)
def test_options_that_cannot_be(section_file, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        find_domains(section_file, tmp_path / "out", n_domains=3, progress=False, **options)
