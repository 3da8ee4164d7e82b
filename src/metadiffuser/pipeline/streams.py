"""Standard output and its faults: closed streams, full disks, readers that leave."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

OUTPUT = "standard output"


def open_streams() -> None:
    """Open closed standard streams on the null device, so that no file takes their number and gets the output."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # programs that this one starts need it, too
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    output = sys.__stdout__
    if output is not None and output is sys.stdout and not output.isatty():
        stream = io.BufferedWriter(_Output(output.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(stream, output.encoding, output.errors)


def discard_output() -> None:
    """Let nothing that is still to be written to standard output fail again when the program ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


class _Output(io.FileIO):
    """Standard output, which names itself in an error."""

    def write(self, data: Any) -> int:
        """Write bytes as a file does."""
        try:
            return super().write(data)
        except OSError as error:
            error.filename = OUTPUT
            raise
