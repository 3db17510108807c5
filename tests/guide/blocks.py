# SPDX-License-Identifier: Apache-2.0
"""The Python blocks of a guide in Markdown, by number, from 1 on."""
import ast
import os
import pathlib
import re

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def guide():
    """The document: FATTN_GUIDE, or the one in a folder `shared/guide` beside the checkout; None where there is none."""
    named = os.environ.get('FATTN_GUIDE')
    if named:
        return pathlib.Path(named)
    return next(iter(sorted((REPOSITORY.parent / 'shared' / 'guide').glob('*.md'))), None)


def blocks(path):
    """{number: source}; a quoted block (lines that begin with >) counts, too."""
    found, lines = {}, iter(path.read_text(encoding='utf-8', errors='replace').split('\n'))
    for line in lines:
        begin = re.match(r'(>?)\s*```python', line)
        if not begin:
            continue
        source = []
        for line in lines:
            line = re.sub(r'^> ?', '', line) if begin[1] else line
            if line.strip() == '```':
                break
            source.append(line)
        found[len(found) + 1] = '\n'.join(source)
    return found


def parses(source):
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def operators(source):
    """The operators that a block names."""
    return sorted({node.attr for node in ast.walk(ast.parse(source))
                   if isinstance(node, ast.Attribute) and node.attr.startswith('npu_')})
