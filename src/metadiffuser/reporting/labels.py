"""Display names and colours of families and methods, read from the metrics files that carry them.

The evaluation of a method writes ``family_title``, ``family_colour``, ``method_title`` and ``method_colour`` into its
metrics; those of the planner and of the dataset hold the family's two. Metrics of earlier versions have none of them:
then the name is the key in title case, and the colour is the next one of ``style.PALETTE``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metadiffuser.reporting import style
from metadiffuser.reporting.scores import metrics_record

OWN = "metadiffuser"
ROWS = (
    "with_value",
    "unconditional",
    "one_call",
    "random",
    "expert",
)  # shown below MetaDiffuser and the baselines, in this order


@dataclass(frozen=True)
class Label:
    """How a family or method appears in tables and figures."""

    title: str
    colour: str

    def to_json(self) -> dict[str, str]:
        """Return a JSON-serialisable record."""
        return {"title": self.title, "colour": self.colour}


@dataclass(frozen=True)
class Labels:
    """The labels of everything that is compared.

    Attributes:
        families: {family: label}, in the order of the parameters.
        methods: {method: label}: MetaDiffuser, the baselines in the order of the parameters, and ``ROWS``.
    """

    families: Mapping[str, Label]
    methods: Mapping[str, Label]

    @classmethod
    def of(cls, families: Mapping[str, Mapping[str, Any]], baselines: Mapping[str, Mapping[str, Any]]) -> Labels:
        """Return the labels of {key: record with ``title`` and ``colour``, or without}."""

        def labelled(records: Mapping[str, Mapping[str, Any]], words: Any) -> dict[str, Label]:
            return {
                name: Label(
                    str(record.get("title") or words(name)),
                    str(record.get("colour") or style.PALETTE[place % len(style.PALETTE)]),
                )
                for place, (name, record) in enumerate(records.items())
            }

        own = {name: Label(*style.OWN_METHODS[name]) for name in (OWN, *ROWS)}
        methods = {OWN: own[OWN]} | labelled(baselines, style.method_words) | {name: own[name] for name in ROWS}
        return cls(labelled(families, style.family_words), methods)

    @classmethod
    def from_json(cls, record: Mapping[str, Any], families: Iterable[str], baselines: Iterable[str]) -> Labels:
        """Return the labels of ``to_json``; of an empty record those of earlier versions, for the given keys."""
        found = {
            kind: {name: record.get(kind, {}).get(name, {}) for name in names}
            for kind, names in (("families", families), ("methods", baselines))
        }
        return cls.of(found["families"], found["methods"])

    def to_json(self) -> dict[str, dict[str, dict[str, str]]]:
        """Return a JSON-serialisable record."""
        return {
            "families": {name: label.to_json() for name, label in self.families.items()},
            "methods": {name: label.to_json() for name, label in self.methods.items()},
        }

    def family(self, name: str) -> str:
        """Return a family's display name."""
        return self.families[name].title if name in self.families else style.family_words(name)

    def method(self, name: str) -> str:
        """Return a method's display name."""
        return self.methods[name].title if name in self.methods else style.method_words(name)

    def method_colour(self, name: str) -> str:
        """Return a method's colour in every figure."""
        return self.methods[name].colour if name in self.methods else style.MUTED

    @property
    def baselines(self) -> list[str]:
        """The baselines, in the order of the parameters."""
        return [name for name in self.methods if name not in (OWN, *ROWS)]


def read_labels(dataset: Sequence[Path], baselines: Sequence[Path]) -> Labels:
    """Read the labels from DATASET_METRICS and BASELINE_METRICS. Raises ``InputError``."""
    families: dict[str, dict[str, Any]] = {}
    methods: dict[str, dict[str, Any]] = {}
    for path in dataset:
        with metrics_record(path) as content:
            families[content["family"]] = _label(content, "family")
    for path in baselines:
        with metrics_record(path) as content:
            methods.setdefault(str(content["training_tasks"][0]["method"]), _label(content, "method"))
    return Labels.of(families, methods)


def _label(content: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"title": content.get(f"{kind}_title"), "colour": content.get(f"{kind}_colour")}
