"""The site: ``sphinx-build -c docs -n -W --keep-going . build/site``, from the repository's root.

The root is the source folder, so that a link is the same in the repository and on the site.
"""

import runpy
from pathlib import Path

project = "ssn_prune"
author = "the authors of ssn_prune"
project_copyright = "Apache-2.0"
root_doc = "docs/index"
include_patterns = ["docs/**.md", "benchmarks/results/*.md"]
exclude_patterns = ["build/**", "docs/_templates/**"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["substitution", "dollarmath", "deflist"]
myst_heading_anchors = 4
myst_substitutions = runpy.run_path(str(Path(__file__).with_name("measured.py")))["substitutions"]()

# In docstrings, argument names in single backticks are code.
default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "both"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# The site is built without a network, so names that are documented elsewhere have no link.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|torchvision|numpy|onnx|onnxruntime|onnx_ir|typing|collections)\..*"),
    (r"py:.*", r"(pathlib|dataclasses|enum|datetime)\..*"),
    (r"py:.*", r"(nn\.Module|Tensor|ProcessGroup|StoredTensor)"),
    # Modules are no public names: only some of what stands in them has a page.
    (r"py:.*", r"ssn_prune\.\w+\..*"),
]

html_theme = "furo"
html_title = "ssn_prune"
templates_path = ["_templates"]
html_additional_pages = {"index": "redirect.html"}  # the root of the site is docs/index
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
