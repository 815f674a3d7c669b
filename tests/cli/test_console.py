"""Warnings and log lines on stderr."""

import logging
import warnings

import pytest

from histoquilt.cli._console import print_messages
from histoquilt.jobs.work._record import capture_warnings
from histoquilt.runtime._log import logger


def test_warnings_are_one_line_each_and_told_once(capsys):
    with print_messages() as console, capture_warnings() as captured:
        console.speak()
        for _ in range(3):
            warnings.warn("5 of 10 spots\n have no counts", stacklevel=1)
        warnings.warn("nobody can act on this", FutureWarning, stacklevel=1)
        warnings.warn("nor on this", DeprecationWarning, stacklevel=1)
        warnings.warn("Sparse CSR tensor support is in beta state. And so on.", UserWarning, stacklevel=1)
    assert captured == ["5 of 10 spots have no counts"]
    assert capsys.readouterr().err == "histoquilt: warning: 5 of 10 spots have no counts\n"


def test_the_log_is_shown_unless_quiet(capsys):
    with print_messages() as console:
        console.speak()
        logger.info("Took %d genes", 300)
        logger.info("Took %d genes", 300)
        logger.warning("Few genes")
    assert capsys.readouterr().err == "histoquilt: Took 300 genes\nhistoquilt: warning: Few genes\n"
    with print_messages(quiet=True) as console:
        console.speak()
        logger.info("Took 300 genes")
        logger.warning("Few genes")
    assert capsys.readouterr().err == "histoquilt: warning: Few genes\n"


def test_the_logger_is_left_as_it_was():
    before = (list(logger.handlers), logger.level, logging.getLogger().handlers[:], warnings.showwarning)
    with print_messages():
        pass
    assert before == (list(logger.handlers), logger.level, logging.getLogger().handlers[:], warnings.showwarning)


def test_what_is_held_back_is_never_told_when_an_error_ends_the_block(capsys):
    def refuse():
        logger.info("Took 300 genes")
        warnings.warn("5 spots have no counts", stacklevel=1)
        raise ValueError("bad input")

    with pytest.raises(ValueError, match="bad"), print_messages():
        refuse()
    assert capsys.readouterr().err == ""
    with print_messages() as console:
        logger.info("Took 300 genes")
        console.speak()
        logger.info("Trained")
    assert capsys.readouterr().err == "histoquilt: Took 300 genes\nhistoquilt: Trained\n"
