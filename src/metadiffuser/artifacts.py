"""Files that are written whole or not at all, and that cannot run code when read.

Arrays are safetensors, records are JSON. A checkpoint is one safetensors file whose metadata holds a
JSON header (configuration, normaliser, provenance); nothing here unpickles.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from metadiffuser.errors import InputError

if TYPE_CHECKING:
    import torch  # at run time in the functions that need it: the engines' bookkeeping reads JSON only, and often

Module = TypeVar("Module", bound="torch.nn.Module")


def _beside(path: Path, ending: str) -> Path:
    """Return a path beside ``path`` that nothing has; files and folders made there get the rights of the umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{ending}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the final name only if the block ends well."""
    temporary = _beside(path, "part")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside ``path``; it replaces ``path`` only if the block ends well."""
    temporary = _beside(path, "part")
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            discarded = _beside(path, "old")
            os.replace(path, discarded)
            os.replace(temporary, path)
            shutil.rmtree(discarded)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises ``InputError`` that names a missing or damaged file, or one that may not be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # a byte order mark, as some editors write, is no harm
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    """Return what to say of a file that cannot be read: what is wrong, and the remedy."""
    if isinstance(error, PermissionError):
        return InputError(f"{path}: may not be read ({error.strerror}); give yourself the right to read it")
    if isinstance(error, FileNotFoundError):
        what = "missing; run the stage that makes it"
    else:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        what = f"damaged ({reason}); delete it and run the pipeline again"
    restored = f"git checkout -- {path}" if path.parts[:1] == ("results",) else "dvc pull"
    return InputError(f"{path}: {what}, or '{restored}'")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    """Write named tensors and a JSON header as one safetensors file."""
    from safetensors.torch import save as serialise

    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"header": json.dumps(header, sort_keys=True, allow_nan=False)}
    with whole_file(path) as temporary:
        temporary.write_bytes(serialise(contiguous, metadata))


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a safetensors file and its JSON header. Raises ``InputError`` if missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        path.open("rb").close()  # safetensors does not tell a missing file from one that may not be read
        with safe_open(str(path), framework="pt", device=device) as stream:
            header = json.loads((stream.metadata() or {})["header"])
            return {name: stream.get_tensor(name) for name in stream.keys()}, header  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from None


def load_module(
    path: Path, device: str, build: Callable[[dict[str, Any]], Module], kind: str, stage: str
) -> tuple[Module, dict[str, Any]]:
    """Read a trained model, ready for use and without gradients, and its file's header.

    Args:
        path: file of ``write_tensors`` that holds the model's ``state_dict``.
        device: where the model is to live.
        build: header -> a model of the same shape.
        kind: what model it is, for messages.
        stage: that writes it, for messages.

    Raises:
        InputError: the file is missing, damaged or another model's.
    """
    tensors, header = read_tensors(path, device)
    try:
        model = build(header).to(device)
        model.load_state_dict(tensors)
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a {kind} checkpoint ({reason}); run {stage} again") from None
    return model.eval().requires_grad_(False), header
