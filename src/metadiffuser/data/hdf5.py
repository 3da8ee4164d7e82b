"""What HDF5 allows and these datasets do not: members that lead out of their file."""

from __future__ import annotations

import h5py


def leads_elsewhere(parent: h5py.h5g.GroupID, name: str) -> str | None:
    """Return in which way a member of a group is not in the file itself, None if it is.

    Links, external storage and virtual arrays would make other files of the machine part of the data.
    """
    path = name.encode()
    if parent.links.get_info(path).type != h5py.h5l.TYPE_HARD:
        return "is a link"
    member = h5py.h5o.open(parent, path)
    if isinstance(member, h5py.h5d.DatasetID):
        plan = member.get_create_plist()
        if plan.get_external_count() or plan.get_layout() == h5py.h5d.VIRTUAL:
            return "keeps its data in another file"
    return None
