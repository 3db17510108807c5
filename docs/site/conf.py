# SPDX-License-Identifier: Apache-2.0
"""The site: pages in Markdown, notebooks that run while it is built, references from docstrings. `make docs`."""
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = ROOT / 'build' / 'release' / 'python'
sys.path.insert(0, str(BUILT))
os.environ['PYTHONPATH'] = str(BUILT)  # of the notebooks' kernels
os.environ.setdefault('NPU_EMU_BANNER', '0')
os.environ['PATH'] = f"{ROOT / 'build' / 'release' / 'tools'}{os.pathsep}{os.environ['PATH']}"

project, author = 'fattn', 'the fattn authors'
version = release = re.search(r'project\(fattn VERSION ([0-9.]+)', (ROOT / 'CMakeLists.txt').read_text(encoding='utf-8'))[1]
extensions = ['myst_nb', 'sphinx.ext.autodoc']
exclude_patterns = ['requirements.txt']
html_theme = 'furo'
html_title = f'fattn {version}'
nb_execution_mode = 'force'
nb_execution_raise_on_error = True
nb_execution_timeout = 120
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
suppress_warnings = ['mystnb.unknown_mime_type']


def plain(app, what, name, obj, options, lines):  # pylint: disable=unused-argument
    """Docstrings of this project are plain text, read in an editor or by help(): they are shown as they are."""
    lines[:] = ['::', '', *('    ' + line for line in lines), '']


def setup(app):
    app.connect('autodoc-process-docstring', plain)
