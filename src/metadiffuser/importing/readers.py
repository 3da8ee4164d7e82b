"""The registry of layouts in which other people's data are read."""

from __future__ import annotations

from collections.abc import Callable

from metadiffuser.errors import InputError
from metadiffuser.importing.layouts import hdf5, minari, npy, npz
from metadiffuser.importing.steps import Request, Steps

PICKLES = (".pkl", ".pickle", ".p", ".pt", ".pth")
LAYOUTS: tuple[Callable[[Request], Steps | None], ...] = (npz.read, hdf5.read, minari.read, npy.read)
"""A layout is one function: it returns the steps of a file or folder, None if that is not in its layout, and raises
``InputError`` if it is and something is wrong with it."""


def read_steps(request: Request) -> Steps:
    """Read the steps of a file or folder in the layout that it is in.

    Args:
        request: file, family and, for a file that holds a mixture of tasks, the task.

    Raises:
        InputError: it is in none of the layouts, or something is wrong with it.
    """
    for layout in LAYOUTS:
        steps = layout(request)
        if steps is not None:
            return steps
    path = request.path
    if path.suffix in PICKLES:
        name = repr(str(path))
        raise InputError(
            f"{path}: pickles are not read, as unpickling can run code; if you trust who wrote this one, and it is a "
            "mapping of arrays, turn it into numbers by the three lines: import numpy as np, pickle; found = "
            f"pickle.load(open({name}, 'rb')); np.savez({str(path.with_suffix('.npz'))!r}, **found)"
        )
    state = "missing; " if not path.exists() else "no data in this folder; " if path.is_dir() else ""
    raise InputError(
        f"{path}: {state}expected an .npz file, the folder of a Minari dataset "
        f"with {minari.DATA_FILE} in it, an HDF5 buffer ({', '.join(hdf5.SUFFIXES)}), or a folder of .npy files"
    )
