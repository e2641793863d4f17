"""The docs as a site with search: `make docs` builds it from the Markdown in this folder."""

project = "convscope"
author = "The convscope authors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "convscope"
html_copy_source = False
html_show_sourcelink = False
myst_heading_anchors = 3  # so that a link to a section is checked too
myst_enable_extensions = ["colon_fence"]
nitpicky = True
