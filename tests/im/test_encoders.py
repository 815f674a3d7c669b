import numpy as np
import pytest

from histoquilt.im.encoders._encoders import get_encoder, list_encoders
from histoquilt.im.encoders._he_texture import TextureEncoder
from histoquilt.im.encoders._known_encoders import KNOWN


class MeanColour:
    name, n_features, input_px, mpp, digest, licence, citation = "mine", 3, 32, None, "0" * 64, "", ""

    def embed(self, patches):
        return patches.mean(axis=(1, 2)).astype(np.float32)


def test_built_in():
    assert isinstance(get_encoder("he_texture"), TextureEncoder)


def test_objects_pass_through():
    mine = MeanColour()
    assert get_encoder(mine) is mine


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("he_textur", "Did you mean 'he_texture'"),
        ("uni", "Did you mean 'hf-hub:MahmoodLab/UNI'"),
        ("resnet50", "Did you mean 'timm:resnet50'"),
        ("onnx:", "'onnx:PATH'"),
        ("zebra", r"Unknown encoder 'zebra'. Encoders are 'he_texture'.*list_encoders"),
    ],
)
def test_unknown_names(name, words):
    with pytest.raises(ValueError, match=words):
        get_encoder(name)


def test_objects_that_are_no_encoder():
    class Half:
        name, n_features, input_px = "half", 3, 32

    with pytest.raises(TypeError, match="Half lacks mpp, digest, licence, citation, embed"):
        get_encoder(Half())
    with pytest.raises(TypeError, match="NoneType lacks name"):
        get_encoder(None)
    with pytest.raises(TypeError, match="got the class MeanColour; make an instance"):
        get_encoder(MeanColour)
    broken = MeanColour()
    broken.embed = "not callable"
    with pytest.raises(TypeError, match="embed must be a method"):
        get_encoder(broken)


def test_the_list():
    table = list_encoders()
    columns = ["name", "n_features", "input_px", "mpp", "licence", "gated", "extra", "citation", "installed"]
    assert list(table.columns) == columns
    assert table["name"].is_unique
    table = table.set_index("name")
    assert table.loc["he_texture", "n_features"] == TextureEncoder().n_features
    assert table.loc["he_texture", "installed"]
    uni = table.loc["hf-hub:MahmoodLab/UNI"]
    assert (uni["n_features"], uni["mpp"], uni["gated"], uni["extra"]) == (1024, 0.5, True, "timm")
    assert not table.loc["timm:resnet50", "gated"]
    published = table.loc[list(KNOWN)]
    assert (published[["licence", "citation"]] != "").all(axis=None)
