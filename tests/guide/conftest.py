# SPDX-License-Identifier: Apache-2.0
"""Names what could not run, for scripts/test.sh."""


def pytest_terminal_summary(terminalreporter):
    if terminalreporter.stats.get('skipped'):
        terminalreporter.write_line('not run: blocks of the guide (FATTN_GUIDE names the document)')
