"""Standard output and its faults: closed streams, full disks, readers that leave."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from metadiffuser.errors import InputError

OUTPUT = "standard output"
UNKNOWN = "backslashreplace"  # characters that the encoding of the locale does not have, as standard error shows them


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
    if output is None or output is not sys.stdout:
        return
    if output.isatty():
        output.reconfigure(errors=UNKNOWN)
    else:
        stream = io.BufferedWriter(_Output(output.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(stream, output.encoding, UNKNOWN)


@contextmanager
def flushed_output() -> Iterator[None]:
    """Write out what is to be printed, also where argparse ends the program after its help."""
    try:
        yield
    except SystemExit:
        sys.stdout.flush()
        raise
    except (InputError, KeyboardInterrupt):  # say these, even if what was printed before cannot be written
        try:
            sys.stdout.flush()
        except OSError:
            discard_output()
        raise
    sys.stdout.flush()


def discard_output() -> None:
    """Let nothing that is still to be written to standard output fail again when the program ends."""
    _discard(sys.stdout)


def discard_errors() -> None:
    """Let what standard error cannot take, on a full disk, not change the exit code when the program ends."""
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
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
