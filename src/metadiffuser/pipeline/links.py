"""Links to the sources of plug-ins, so that both engines see an edit of a plug-in as one of the package's own files.

The engines look for a method's or family's code at one place below the package, ``baselines/<name>.py`` or
``envs/<name>.py``. For a plug-in a symbolic link to its package stands there. Nothing is imported through the link, and
git does not see it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from metadiffuser.config import plugins
from metadiffuser.config.params import Params
from metadiffuser.pipeline.dag import PACKAGE


def link_plugins(params: Params) -> None:
    """Link the sources of the plug-ins that ``params`` names, and remove links to plug-ins that are gone.

    Raises:
        InputError: a plug-in in use is not installed, or its module cannot be found.
        OSError: a link cannot be written.
    """
    package = Path(PACKAGE)
    if not package.is_dir():
        return
    names: dict[plugins.Kind, list[str]] = {"family": list(params.families), "method": list(params.baselines)}
    wanted = {
        package / plugins.FOLDERS[kind] / f"{name}.py": plugins.source(kind, name)
        for kind in plugins.FOLDERS
        for name in names[kind]
        if plugins.is_plugin(kind, name)
    }
    for folder in plugins.FOLDERS.values():
        for path in (package / folder).glob("*.py"):
            if path.is_symlink() and path not in wanted and not path.exists():
                path.unlink()
    for path, source in wanted.items():
        if not path.is_symlink() or path.resolve() != source.resolve():
            _link(path, source)


def _link(path: Path, source: Path) -> None:
    """Put a symbolic link to ``source`` at ``path``, and list it in git's own file of what it is not to see."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.symlink_to(source.resolve(), target_is_directory=source.is_dir())
    os.replace(temporary, path)
    asked = ("git", "rev-parse", "--git-path", "info/exclude")
    answer = subprocess.run(asked, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    if answer.returncode:
        return  # no git here
    excluded = Path(answer.stdout.strip())
    excluded.parent.mkdir(parents=True, exist_ok=True)
    lines = excluded.read_text(encoding="utf-8").splitlines() if excluded.exists() else []
    if f"/{path}" not in lines:
        excluded.write_text("\n".join([*lines, f"/{path}"]) + "\n", encoding="utf-8")
