"""``metadiffuser summary``: where the report of the preset in params.yaml is, and its main result."""

from __future__ import annotations

from pathlib import Path

from metadiffuser import paths
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.reporting.main_result import main_result


def print_summary(params: Params) -> None:
    """Print the main result, in at most three lines, and the path of the report.

    Raises:
        InputError: the preset has no tables or no report yet.
    """
    report = Path(paths.REPORT.format(preset=params.preset))
    for line in main_result(Path(paths.TABLES.format(preset=params.preset))):
        print(line)
    if not report.exists():
        raise InputError(f"{report}: missing; run 'snakemake --cores all all' or 'make report'")
    print(f"Report: {report.absolute()}")
