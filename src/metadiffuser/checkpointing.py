"""Everything a killed training run needs to go on as if nothing had happened, without pickle."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metadiffuser.artifacts import read_tensors, write_tensors
from metadiffuser.errors import InputError

log = logging.getLogger(__name__)

INTERVAL = 60.0  # seconds between two checkpoints


class TrainingState:
    """Modules, optimisers, generators and named arrays that together are a run's state.

    Args:
        modules: by name; their parameters and buffers.
        optimisers: by name.
        generators: torch or NumPy generators by name.
        arrays: NumPy arrays by name, restored in place (a replay buffer, environment states).
    """

    def __init__(
        self,
        modules: Mapping[str, torch.nn.Module],
        optimisers: Mapping[str, torch.optim.Optimizer],
        generators: Mapping[str, torch.Generator | np.random.Generator],
        arrays: Mapping[str, np.ndarray[Any, Any]] | None = None,
    ):
        self.modules = dict(modules)
        self.optimisers = dict(optimisers)
        self.generators = dict(generators)
        self.arrays = dict(arrays or {})
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Tell whether it is time for another checkpoint."""
        return time.monotonic() - self._saved >= INTERVAL

    def save(self, path: Path, step: int, records: list[dict[str, float]], **extra: Any) -> None:
        """Write the state after ``step`` steps, with the figures recorded so far."""
        tensors: dict[str, torch.Tensor] = {}
        ordered = [list(record.items()) for record in records]  # JSON objects come back in another order
        header: dict[str, Any] = {"step": step, "records": ordered, "extra": extra, "numpy": {}}
        for name, module in self.modules.items():
            tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for index, slots in optimiser.state_dict()["state"].items():
                for key, value in slots.items():
                    tensors[f"optimiser/{name}/{index}/{key}"] = torch.as_tensor(value)
        for name, generator in self.generators.items():
            if isinstance(generator, torch.Generator):
                tensors[f"generator/{name}"] = generator.get_state()
            else:
                header["numpy"][name] = generator.bit_generator.state
        for name, array in self.arrays.items():
            tensors[f"array/{name}"] = torch.from_numpy(array)
        header["digest"] = _digest(tensors)
        write_tensors(path, tensors, header)
        self._saved = time.monotonic()

    def load(self, path: Path) -> tuple[int, list[dict[str, float]], dict[str, Any]]:
        """Restore the state in place; return (steps done, figures recorded, extra). A damaged file is dropped."""
        if not path.exists():
            return 0, [], {}
        try:
            tensors, header = read_tensors(path)
            if header["digest"] != _digest(tensors):
                raise InputError(f"{path}: damaged (its contents are not those that were written)")
        except (InputError, KeyError) as error:
            log.warning("%s; training starts from the beginning", error)
            path.unlink()
            return 0, [], {}
        for name, module in self.modules.items():
            module.load_state_dict(_below(tensors, f"module/{name}/"))
        for name, optimiser in self.optimisers.items():
            state = optimiser.state_dict()
            slots: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in _below(tensors, f"optimiser/{name}/").items():
                index, slot = key.split("/", 1)
                slots.setdefault(int(index), {})[slot] = value
            optimiser.load_state_dict({**state, "state": slots})
        for name, generator in self.generators.items():
            if isinstance(generator, torch.Generator):
                generator.set_state(tensors[f"generator/{name}"])
            else:
                generator.bit_generator.state = header["numpy"][name]
        for name, array in self.arrays.items():
            array[...] = tensors[f"array/{name}"].numpy()
        return int(header["step"]), [dict(record) for record in header["records"]], dict(header["extra"])


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a hash of names and contents, which safetensors does not keep."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        state.update(name.encode())
        state.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
