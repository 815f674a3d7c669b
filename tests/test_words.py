"""Advice in the words of Python, and of the command."""

import pickle
import shlex
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from histoquilt._base import MissingKey, argument, at_a_command, either, is_at_a_command, message_of


@pytest.mark.parametrize(
    ("advice", "python", "command"),
    [
        (("layer",), "layer=", "--layer"),
        (("counts_file",), "counts_file=", "--counts-file"),
        (("counts_file", "raw.h5"), "counts_file='raw.h5'", "--counts-file raw.h5"),
        (("counts_file", "my raw.h5"), "counts_file='my raw.h5'", "--counts-file 'my raw.h5'"),
        (("one_section", True), "one_section=True", "--one-section"),
        (("mpp", 0.5), "mpp=0.5", "--mpp 0.5"),
        (("mpp", 1), "mpp=1", "--mpp 1"),
    ],
)
def test_an_argument_and_its_option(advice, python, command):
    assert argument(*advice) == python
    with at_a_command():
        assert argument(*advice) == command


def test_a_shell_reads_back_the_value():
    name = 'it\'s a $name; with "all"'
    with at_a_command():
        assert shlex.split(argument("section_key", name)) == ["--section-key", name]
    assert eval(f"dict({argument('section_key', name)})") == {"section_key": name}


def test_the_mode_ends_with_its_block():
    assert either("python", "command") == "python"
    with pytest.raises(ValueError, match="command"), at_a_command():
        raise ValueError(either("python", "command"))
    assert not is_at_a_command()
    with at_a_command():
        with at_a_command(False):  # a worker that serves a script
            assert either("python", "command") == "python"
        assert is_at_a_command()


def test_a_thread_speaks_like_the_one_that_started_it():
    with at_a_command(), ThreadPoolExecutor(1) as threads:
        assert threads.submit(copy_context().run, argument, "layer").result() == "--layer"


@pytest.mark.parametrize(
    ("available", "found"),
    [([], "nothing"), ({"a": 1}, "'a'"), (iter("ab"), "'a', 'b'"), ("abcdefghij", "... (10 in all)")],
)
def test_a_missing_key_says_where_and_what_to_do(available, found):
    error = MissingKey("x", "adata.layers", available, f"Pass {argument('layer')}.")
    assert isinstance(error, KeyError)
    text = str(error)
    assert text.startswith("'x' is not in adata.layers (found: ")
    assert text.endswith(f"{found}). Pass layer=.")
    assert (error.key, error.where, error.remedy) == ("x", "adata.layers", "Pass layer=.")


def test_a_missing_key_without_remedy():
    assert str(MissingKey("x", "adata.obs", ["a"])) == "'x' is not in adata.obs (found: 'a')."


def test_a_missing_key_travels_with_the_words_it_was_made_of():
    with at_a_command():
        error = MissingKey("x", "adata.layers", ["a"], f"Pass {argument('layer')}.")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is MissingKey
    assert str(back) == "'x' is not in adata.layers (found: 'a'). Pass --layer."


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("There's no 'x'."), "There's no 'x'."),
        (KeyError(), ""),
        (ValueError("too large"), "too large"),
        (MissingKey("x", "adata.obs", []), "'x' is not in adata.obs (found: nothing)."),
    ],
)
def test_what_an_error_says(error, message):
    assert message_of(error) == message
