"""Sphinx configuration: MyST pages, NumPy docstrings, API pages made from each room's ``__all__``."""

import os
import sys
from importlib import import_module
from pathlib import Path

import matplotlib.font_manager

import histoquilt

sys.path.insert(0, str(Path(__file__).parent))
import make_messages

project = "histoquilt"
author = "The histoquilt developers"
copyright = author
release = version = histoquilt.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
templates_path = ["_templates"]
exclude_patterns = ["_build", "generated/*.inc"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = "histoquilt"
highlight_language = "none"  # a block without a language is the shell

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# pages that start with "file_format: mystnb" run, each in its own folder; what they warn of, the build warns of
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_output_stderr = "remove-warn"
nb_merge_streams = True
if os.environ.get("HISTOQUILT_DATA"):
    tags.add("real_tissue")  # noqa: F821  # sphinx gives the name
else:
    nb_execution_excludepatterns = ["real_tissue.md"]

# links into the documentation of other packages need the network, so a build asks for them (`make docs LINKS=1`)
if os.environ.get("HISTOQUILT_DOCS_LINKS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "python": ("https://docs.python.org/3", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable", None),
        "squidpy": ("https://squidpy.readthedocs.io/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

# what other packages print on a fresh machine is not for the pages
os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
matplotlib.font_manager.get_font_names()  # finds the fonts once, before the pages do

make_messages.PAGE.write_text(make_messages.page(), encoding="utf-8")

autosummary_generate = True
autosummary_ignore_module_all = False  # the public surface is __all__, nothing else
autosummary_imported_members = True
# what readers and features pass on has its page there
autosummary_context = {
    "elsewhere": {
        "histoquilt.study": {*import_module("histoquilt.io").__all__, *import_module("histoquilt.pp").__all__}
    }
}
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
# "Returns" holds sentences and lists of the keys that are written, not types
napoleon_preprocess_types = False
