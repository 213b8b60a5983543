"""What the whole run of tests shares."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests recorded with `record_property("figures", text)`, whichever worker ran them."""
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, text in report.user_properties:
            if name == "figures":
                terminalreporter.section(report.nodeid)
                terminalreporter.write_line(str(text))
