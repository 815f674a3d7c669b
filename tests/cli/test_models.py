"""``histoquilt models``: a table, a card, a check, a copy."""

import json
import shutil

from histoquilt.cli import run


def test_models_are_listed_shown_and_checked(ridge_model, tmp_path, capsys):
    other = shutil.copytree(ridge_model, tmp_path / "other" / "second")
    assert run(["models", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "at equal depth" in lines[0]
    assert len([line for line in lines if "RidgeOnEmbedding" in line and "he_texture" in line]) == 2
    assert run(["models", str(ridge_model)]) == 0
    shown = capsys.readouterr().out
    assert "# RidgeOnEmbedding: expression from H&E" in shown
    assert "licence of the encoder he_texture" in shown
    assert run(["models", "--check", str(ridge_model)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "ok"
    (other / "weights.safetensors").write_bytes(b"other")
    assert run(["models", "--check", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "weights.safetensors is not the file that was saved" in captured.out
    assert "1 of 2 model folder(s) cannot be used" in captured.err


def test_a_model_is_copied_with_its_licence_shown(ridge_model, tmp_path, capsys):
    assert run(["models", "--pull", str(ridge_model), "--out", str(tmp_path / "copy")]) == 0
    told = capsys.readouterr().err.splitlines()
    assert "licence of the model: not recorded" in told[0]
    assert run(["models", "--check", str(tmp_path / "copy")]) == 0


def test_what_models_refuses(refused, ridge_model, tmp_path):
    assert "there is no folder" in refused("models", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no model folder here" in refused("models", tmp_path / "empty")
    assert "belong to --pull" in refused("models", ridge_model, "--revision", "main")
    assert "give --out MODEL" in refused("models", "--pull", ridge_model)
    assert "--revision, got None" in refused("models", "--pull", "lab/brca", "--out", tmp_path / "copy")


def test_text_of_others_does_not_reach_the_terminal_as_commands(ridge_model, tmp_path, capsys):
    model = shutil.copytree(ridge_model, tmp_path / "[bold]mine[" / "model")
    facts = json.loads((model / "provenance.json").read_text())
    facts["histoquilt"] = "[/red]\x1b[2J"
    (model / "provenance.json").write_text(json.dumps(facts))
    (model / "README.md").write_bytes(b"---\nlicense: free\x1b]0;title\x07\xe2\x80\xae\n---\n\xff\x1b[2J card\n")
    codes = [
        run(["models", str(model)]), run(["models", str(tmp_path)]), run(["models", "--check", str(tmp_path)]),
        run(["models", "--pull", str(model), "--out", str(tmp_path / "copy")]),
    ]  # fmt: skip
    captured = capsys.readouterr()
    assert codes == [0, 0, 0, 0], captured.err
    assert not set("\x1b\x07\u202e") & set(captured.out + captured.err)
    assert "licence of the model: free\\x1b]0;title\\x07\\u202e" in captured.out
    assert "licence of the model: free\\x1b]0;title\\x07\\u202e" in captured.err
    assert "[/red]\\x1b[2J" in captured.out
    assert "[bold]mine[" in captured.out
