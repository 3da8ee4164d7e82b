"""A console that writes to a string, and the events of Snakemake that it is given."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace
from typing import Any, cast

from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import OutputSettingsLoggerInterface

from snakemake_logger_plugin_metadiffuser import LogHandler


def wildcards(**values: str) -> dict[str, str]:
    return {"preset": "smoke", **values}


def handler(**settings: Any) -> LogHandler:
    """A handler that writes to a string."""
    common = {
        "printshellcmds": False,
        "nocolor": True,
        "quiet": (),
        "debug_dag": False,
        "verbose": False,
        "show_failed_logs": False,
        "stdout": False,
        "dryrun": False,
    }
    made = LogHandler(cast(OutputSettingsLoggerInterface, SimpleNamespace(**{**common, **settings})), None)
    made.stream = io.StringIO()
    made.setFormatter(logging.Formatter("%(message)s"))
    return made


def said(made: LogHandler) -> list[str]:
    """The lines without the time of day."""
    assert isinstance(made.stream, io.StringIO)
    return [line.partition("] ")[2] if line.startswith("[") else line for line in made.stream.getvalue().splitlines()]


def event(made: LogHandler, kind: LogEvent | None, message: str | None = None, **fields: Any) -> None:
    record = logging.LogRecord("snakemake", fields.pop("level", logging.INFO), "", 0, message, None, None)
    vars(record).update(fields)
    if kind is not None:
        record.event = kind
    made.handle(record)
