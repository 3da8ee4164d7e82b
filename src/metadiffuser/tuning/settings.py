"""The file of settings: which values of ``params.yaml`` are tried for each method and family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from metadiffuser.config import plugins
from metadiffuser.config.consistency import inconsistencies
from metadiffuser.config.loading import read_tree
from metadiffuser.config.params import Params, override_in, section_type, sentence
from metadiffuser.config.schema import ContextSource, Count, Section
from metadiffuser.errors import InputError, nearest

FILE = Path("workflow/tuning.yaml")
OWN = "metadiffuser"
EVERY = "every_family"  # settings of the families that have none of their own
OWN_SECTIONS = ("context", "diffusion", "planning")

Overrides = Mapping[str, Any]


def methods() -> tuple[str, ...]:
    """Return what settings can be given for: MetaDiffuser and every installed baseline."""
    return (OWN, *plugins.names("method"))


def sections_of(method: str) -> tuple[str, ...]:
    """Return the sections whose keys settings of a method may set."""
    return OWN_SECTIONS if method == OWN else (f"baseline.{method}",)


class Tuning(Section):
    """The file of settings."""

    held_out: Count = Field(description="training tasks of a family that settings are judged on, and not trained on")
    folds: Count = Field(
        description="how often that is done, other tasks being held out each time; the score is the mean over all"
    )
    episodes: Count = Field(description="episodes per held-out task and context")
    contexts: Annotated[list[ContextSource], Field(min_length=1)] = Field(
        description="where the warm-start context comes from; the score is the mean over them"
    )
    settings: dict[str, dict[str, Annotated[list[dict[str, Any]], Field(min_length=1)]]] = Field(
        description="per method, per family or every_family: values by dotted key; the first is {}, the preset's own"
    )

    def of(self, method: str, family: str) -> list[Overrides]:
        """Return the settings of a method in a family. Raises ``InputError`` if there are none."""
        lists = self.settings[method]
        if family not in lists and EVERY not in lists:
            raise InputError(f"settings.{method}: nothing for {family}; give it a list, or one to '{EVERY}'")
        return list(lists.get(family, lists.get(EVERY, [])))


def read_settings(path: Path) -> Tuning:
    """Read and check a file of settings.

    Raises:
        InputError: the file is missing or damaged, names what does not exist, or gives one method more settings than
            another.
    """
    tree = read_tree(path)
    try:
        tuning = Tuning.model_validate(tree)
        _check(tuning.settings)
    except ValidationError as error:
        raise InputError(f"{path}: {sentence(error, '', Tuning)}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if "oracle" in tuning.contexts:
        raise InputError(f"{path}: 'contexts' has oracle, which only the planner can use; remove it")
    return tuning


def _check(settings: Mapping[str, Mapping[str, Sequence[Overrides]]]) -> None:
    counts: dict[int, str] = {}
    for method, lists in settings.items():
        if method not in methods():
            raise ValueError(f"settings.{method}: unknown method{nearest(method, methods())}")
        for family, listed in lists.items():
            place = f"settings.{method}.{family}"
            if family not in (EVERY, *plugins.names("family")):
                raise ValueError(f"{place}: unknown family{nearest(family, [*plugins.names('family'), EVERY])}")
            if listed[0]:
                raise ValueError(f"{place}: the first setting must be {{}}, which is the preset's own")
            counts.setdefault(len(listed), place)
            for overrides in listed:
                for key in overrides:
                    _section_of(method, key, place)
    if len(counts) > 1:
        found = ", ".join(f"{place} has {count}" for count, place in counts.items())
        raise ValueError(f"every method must have equally many settings, but {found}")


def _section_of(method: str, key: str, place: str) -> tuple[str, str]:
    """Return (section, name) of a dotted key. Raises ``ValueError`` if it is none of the method's."""
    section, _, name = key.rpartition(".")
    if section not in sections_of(method):
        raise ValueError(f"{place}: '{key}' is not of {method}, whose keys begin with {', '.join(sections_of(method))}")
    known = section_type(section).model_fields
    if name not in known:
        raise ValueError(f"{place}: unknown key '{key}'{nearest(name, known)}")
    return section, name


@dataclass(frozen=True)
class Trial:
    """One setting of a method in a family.

    Attributes:
        method: ``metadiffuser`` or a baseline.
        family: environment family.
        overrides: values by dotted key that are not the preset's.
        values: the trial's value of every key that any setting of the method and family sets.
        params: the parameters of its jobs: this family and method alone, the cheap evaluation, ``overrides``.
    """

    method: str
    family: str
    overrides: Overrides
    values: Overrides
    params: Params


def trials(tuning: Tuning, params: Params, method: str, family: str) -> list[Trial]:
    """Return the trials of a method in a family. Raises ``InputError`` if a value is invalid or inconsistent."""
    listed = tuning.of(method, family)
    keys = list(dict.fromkeys(key for overrides in listed for key in overrides))
    found = []
    for overrides in listed:
        changed = _changed_params(tuning, params, method, family, overrides)
        values = {}
        for key in keys:
            section, _, name = key.rpartition(".")
            values[key] = getattr(changed.section(section, family), name)
        found.append(Trial(method, family, overrides, values, changed))
    return found


def _changed_params(tuning: Tuning, params: Params, method: str, family: str, overrides: Overrides) -> Params:
    tree = params.model_dump()
    tree["families"], tree["seeds"] = [family], params.seeds[:1]
    tree["representations"] = params.representations[:1]
    tree["baselines"] = params.baselines[:1] if method == OWN else [method]
    override_in(tree, family, "evaluation").update(
        {"episodes": tuning.episodes, "contexts": list(tuning.contexts), "guides": ["dual"], "samplers": []}
    )
    # A trial is judged by its own values: its calibration tries nothing beside them, on as little as there can be.
    override_in(tree, family, "calibration").update({"tasks": 1, "episodes": 1, "settings": 1})
    for key, value in overrides.items():
        section, name = _section_of(method, key, f"settings.{method}")
        override_in(tree, family, section)[name] = value
    try:
        changed = Params.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"settings.{method}, {family}: {sentence(error, '', Params)}") from None
    for inconsistency in inconsistencies(changed, protocol=False):
        raise InputError(f"settings.{method}, {family}: {inconsistency}")
    return changed
