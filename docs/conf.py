"""Sphinx configuration: MyST pages, NumPy docstrings, API pages made from each room's ``__all__``."""

from importlib import import_module

import histoquilt

project = "histoquilt"
author = "The histoquilt developers"
copyright = author
release = version = histoquilt.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
templates_path = ["_templates"]
exclude_patterns = ["_build", "generated/*.inc"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = "histoquilt"
highlight_language = "none"  # a block without a language is the shell

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

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
