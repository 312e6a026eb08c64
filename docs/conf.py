"""How Sphinx builds the documentation: ``tox -e docs``."""

from __future__ import annotations

import polyvisor

project = "polyvisor"
author = "the polyvisor project"
copyright = author  # noqa: A001 - Sphinx reads this name
version = release = polyvisor.__version__

extensions = ["myst_parser", "sphinx_click", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "polyvisor"
# The machine that builds has no other pages to link to, and the reader needs no tracking.
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Every reference that is written out (polyvisor.…) must lead somewhere. Annotations name
# types as the source does, without their module, and other projects' pages are not here; a type
# variable has no place of its own.
nitpick_ignore_regex = [(r"py:.*", r"(?!polyvisor\.).*|polyvisor\.(?:.*\.)?(?:_.*|E)")]
# MigrationOptions is both a driver's argument and, for those who import, migration's.
suppress_warnings = ["ref.python"]
