"""The last parameter file that was found valid, so that reading it again takes a tenth of the time.

The section of a method is checked by the method's own file, which imports torch: seconds, for which every dry run and
every small job would wait. What was read of a valid ``params.yaml`` is kept in ``.work/``, under a hash of its text and
of all sources that the check depends on.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from metadiffuser.config import plugins
from metadiffuser.errors import InputError

KEPT = Path(".work") / "checked_params.json"
PACKAGE = Path(__file__).parents[1]


def fingerprint(text: str) -> str:
    """Return a hash of a parameter file's text, of what methods and families there are, and of what checks them."""
    found = hashlib.sha256(text.encode())
    sources = [*Path(__file__).parent.glob("*.py"), PACKAGE / "errors.py", PACKAGE / "baselines/shared/interface.py"]
    for name in plugins.names("method"):
        found.update(f"method {name}\n".encode())
        source = plugins.source("method", name)
        sources += source.rglob("*.py") if source.is_dir() else [source]
    found.update("".join(f"family {name}\n" for name in plugins.names("family")).encode())
    for path in sorted(sources):
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def recall(text: str) -> dict[str, Any] | None:
    """Return what was read of a parameter file with this text, if that is the last one that was found valid."""
    with suppress(OSError, ValueError, KeyError, TypeError, InputError):
        kept = json.loads(KEPT.read_text(encoding="utf-8"))
        if kept["fingerprint"] == fingerprint(text):
            return dict(kept["params"])
    return None


def remember(text: str, params: dict[str, Any]) -> None:
    """Keep what was read of a valid parameter file; where nothing can be written, nothing is kept."""
    with suppress(OSError, InputError):
        KEPT.parent.mkdir(exist_ok=True)
        partial = KEPT.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"fingerprint": fingerprint(text), "params": params}), encoding="utf-8")
        partial.replace(KEPT)
