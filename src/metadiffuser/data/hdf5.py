"""What HDF5 allows and these datasets do not: data in other files, which would make any file of the machine theirs."""

from __future__ import annotations

import h5py


def is_link(parent: h5py.h5g.GroupID, path: str) -> bool:
    """Tell whether the last part of a path below a group is a soft or external link."""
    return bool(parent.links.get_info(path.encode()).type != h5py.h5l.TYPE_HARD)


def is_stored_elsewhere(array: h5py.h5d.DatasetID) -> bool:
    """Tell whether an array's contents are external storage or views of other arrays."""
    plan = array.get_create_plist()
    return bool(plan.get_external_count() or plan.get_layout() == h5py.h5d.VIRTUAL)
