"""The command-line program: it generates options from the config classes of ``jobs``, calls the jobs and prints.

Every command exits 0, or 2 with one line on stderr that says what is wrong and what to do, or 130 on Ctrl-C, and never
leaves half-written output. Nothing heavy is imported before a command runs, so that ``histoquilt --help`` is instant.
"""

from histoquilt.cli._main import main, run

__all__ = ["main", "run"]
