"""The account that a command runs under. It imports nothing else of the package: it comes before everything."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

HOME = Path(".work") / "home"


def name_user() -> None:
    """Give a user without an entry in passwd, as in containers, a name and a home folder: libraries need both.

    A home that cannot be written, such as the ``/`` of a container, is none.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
            os.environ["LOGNAME"] = f"user{os.getuid()}"
        home = os.environ.get("HOME")
        if not home or not os.access(home, os.W_OK | os.X_OK):
            os.environ["HOME"] = str(HOME.absolute())
