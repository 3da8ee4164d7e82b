"""The whole of ``params.yaml``: the sections of ``schema``, those of the methods, and what families override.

A section may be overridden family by family under ``overrides``; ``Params.section`` merges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from metadiffuser.config import plugins
from metadiffuser.config.schema import (
    Behaviour,
    Calibration,
    Context,
    Dataset,
    Diffusion,
    Evaluation,
    MethodParameters,
    Natural,
    Planning,
    Rendering,
    Report,
    Representation,
    Section,
    Tasks,
)
from metadiffuser.errors import InputError, nearest, shortened

CHECKED = {"checked": True}  # validation context of parameters that were found valid before
NO_OVERRIDE = "none"  # stands in params.yaml where a family overrides nothing: DVC needs the keys that it tracks

SHARED: dict[str, type[Section]] = {  # sections that a family may override, beside those of the methods
    "tasks": Tasks,
    "behaviour": Behaviour,
    "dataset": Dataset,
    "context": Context,
    "diffusion": Diffusion,
    "planning": Planning,
    "calibration": Calibration,
    "evaluation": Evaluation,
    "rendering": Rendering,
}


def method_parameters(name: str) -> type[MethodParameters]:
    """Return the type of a method's section, which the method's own file holds.

    Raises:
        InputError: there is no such method, its plug-in fails to import, or it lacks a class ``Parameters``.
    """
    found = getattr(plugins.load("method", name), "Parameters", None)
    if not (isinstance(found, type) and issubclass(found, MethodParameters)):
        raise InputError(
            f"method '{name}': its module has no class Parameters; add one that derives from MethodParameters "
            "(metadiffuser.config.schema)"
        )
    return found


class UncheckedParameters(MethodParameters, extra="allow"):
    """A method's section as it was read before: its values are known to be valid (module ``checked``)."""


def section_type(name: str) -> type[Section]:
    """Return the type of a section that a family may override: ``planning``, or ``baseline.bc``.

    Raises:
        InputError: as of ``method_parameters``.
    """
    head, _, method = name.partition(".")
    return method_parameters(method) if head == "baseline" else SHARED[name]


def override_in(tree: dict[str, Any], family: str, section: str) -> dict[str, Any]:
    """Return the overrides of one section in a tree as read from a parameter file, to be changed in place.

    They are added, as an empty mapping, where the file has none.
    """
    node = tree
    for part in ("overrides", family, *section.split(".")):
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    return node


def _names(kind: plugins.Kind, schema: dict[str, Any]) -> None:
    schema["enum"] = list(plugins.names(kind))


_NAME = r"^[a-z][a-z0-9_]*$"  # part of paths and of job names
FamilyName = Annotated[str, Field(pattern=_NAME, max_length=64, json_schema_extra=partial(_names, "family"))]
MethodName = Annotated[str, Field(pattern=_NAME, max_length=64, json_schema_extra=partial(_names, "method"))]


class Params(Section):
    """The whole of ``params.yaml``."""

    preset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = Field(
        description="name of the folders below artifacts/ and results/"
    )
    seed: Natural = Field(0, description="root of all random numbers")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu", description="where networks run; auto takes CUDA if it is present"
    )
    families: Annotated[list[FamilyName], Field(min_length=1)] = Field(description="environment families")
    representations: Annotated[list[Representation], Field(min_length=1)] = Field(
        ["generalised"], description="task representations; MetaDiffuser's results use the first"
    )
    baselines: Annotated[list[MethodName], Field(min_length=1)] = Field(
        description="methods that MetaDiffuser is compared with"
    )
    seeds: Annotated[list[Natural], Field(min_length=1, max_length=100)] = Field([0], description="training seeds")
    shards: Annotated[list[Natural], Field(min_length=1, max_length=1000)] = Field(
        [0], description="jobs that behaviour training of a family is divided into: 0, 1, ..."
    )
    tasks: Tasks = Tasks()
    behaviour: Behaviour = Behaviour()
    dataset: Dataset = Dataset()
    context: Context = Context()
    diffusion: Diffusion = Diffusion()
    planning: Planning = Planning()
    calibration: Calibration = Calibration()
    evaluation: Evaluation = Evaluation()
    baseline: dict[str, SerializeAsAny[MethodParameters]] = Field(
        default_factory=dict,
        validate_default=True,
        description="Stage train_baseline: one section for each of the baselines",
    )
    rendering: Rendering = Rendering()
    report: Report = Report()
    overrides: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        validate_default=True,
        description="For each family: values that replace those of the sections above; 'none' replaces nothing",
    )

    @field_validator("families", "baselines")
    @classmethod
    def _check_installed(cls, given: list[str], info: ValidationInfo) -> list[str]:
        kind: plugins.Kind = "family" if info.field_name == "families" else "method"
        for place, name in enumerate(given):
            if name not in plugins.names(kind):
                hint = nearest(name, plugins.names(kind))
                raise ValueError(f"{info.field_name}.{place}: unknown {kind} '{shortened(name)}'{hint}")
        return given

    @field_validator("baseline", mode="before")
    @classmethod
    def _read_methods(cls, given: Any, info: ValidationInfo) -> Any:
        """Read each section as its method's type; a method in force without a section gets the defaults."""
        if not isinstance(given, dict):
            return given
        if info.context == CHECKED:
            return {name: UncheckedParameters.model_validate(values) for name, values in given.items()}
        known = plugins.names("method")
        read: dict[str, MethodParameters] = {}
        for name, values in given.items():
            if name not in known:
                raise ValueError(f"unknown key 'baseline.{shortened(name)}'{nearest(name, known)}")
            read[name] = _validated(method_parameters(name), values, f"baseline.{name}")
        for name in info.data.get("baselines", ()):
            if name not in read:
                read[name] = _validated(method_parameters(name), {}, f"baseline.{name}")
        return read

    @field_validator("overrides", mode="before")
    @classmethod
    def _fill_overrides(cls, given: Any, info: ValidationInfo) -> Any:
        """Give every family in force a value for every section: what it overrides, or ``NO_OVERRIDE``."""
        families = info.data.get("families", [])
        given = _mapping(given, "overrides")
        full: dict[str, Any] = {}
        for family in dict.fromkeys([*families, *given]):
            if family not in plugins.names("family"):
                hint = nearest(family, plugins.names("family"))
                raise ValueError(f"overrides.{shortened(family)}: unknown family{hint}")
            sections = _mapping(given.get(family, NO_OVERRIDE), f"overrides.{family}")
            methods = _mapping(sections.get("baseline", NO_OVERRIDE), f"overrides.{family}.baseline")
            _check_names(sections, [*SHARED, "baseline"], f"overrides.{family}")
            _check_names(methods, plugins.names("method"), f"overrides.{family}.baseline")
            if family in families:
                sections = dict.fromkeys(SHARED, NO_OVERRIDE) | sections
                methods = dict.fromkeys(info.data.get("baselines", ()), NO_OVERRIDE) | methods
            full[family] = {**sections, "baseline": methods} if methods or "baseline" in sections else sections
        return full

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in ("families", "representations", "baselines", "seeds"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key}: the list {values} names something twice; remove the repetition")
        if list(self.shards) != list(range(len(self.shards))):
            raise ValueError(f"shards: expected 0, 1, 2, ... without gaps, got {self.shards}")
        if self.tasks.imported is not None:
            raise ValueError("tasks.imported: data belong to one family; it goes under overrides.<family>.tasks")
        for family, sections in self.overrides.items():
            methods = [f"baseline.{name}" for name in sections.get("baseline", ())]
            for name in (*(name for name in sections if name != "baseline"), *methods):
                self.section(name, family)
        return self

    def overridable(self) -> tuple[str, ...]:
        """Return the names of the sections that a family may override: ``tasks``, ..., ``baseline.bc``, ..."""
        return (*SHARED, *(f"baseline.{name}" for name in self.baseline))

    def override(self, name: str, family: str) -> dict[str, Any]:
        """Return the values of section ``name`` that ``family`` overrides, by key; none where it overrides nothing.

        Raises:
            ValueError: the parameters have something else in this place; the message names it.
        """
        found: Any = self.overrides.get(family, {})
        for part in name.split("."):
            found = _mapping(found, f"overrides.{family}").get(part, NO_OVERRIDE)
        return _mapping(found, f"overrides.{family}.{name}")

    def section(self, name: str, family: str | None = None) -> Any:
        """Return section ``name``, such as ``baseline.bc``, with the overrides of ``family`` merged in."""
        _, _, method = name.partition(".")
        if method:  # one that is not in force has its defaults
            section = self.baseline[method] if method in self.baseline else method_parameters(method)()
        else:
            section = getattr(self, name)
        if family is None or (not method and name not in SHARED):
            return section
        override = self.override(name, family)
        if not override:
            return section
        return _validated(type(section), {**section.model_dump(), **override}, f"overrides.{family}.{name}")

    def typed_section(self, name: str, family: str | None = None) -> Any:
        """Return section ``name`` as ``section`` does, that of a method as the type in the method's own file."""
        section = self.section(name, family)
        if not isinstance(section, UncheckedParameters):
            return section
        return method_parameters(name.removeprefix("baseline.")).model_validate(section.model_dump())


def _mapping(value: Any, name: str) -> dict[str, Any]:
    """Return ``value``, empty for ``NO_OVERRIDE``. Raises ``ValueError`` for what is neither that nor a mapping."""
    if value == NO_OVERRIDE:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"'{name}' is {shortened(repr(value))}: expected a mapping, or the word {NO_OVERRIDE}")
    return value


def _check_names(given: Mapping[str, Any], known: Iterable[str], above: str) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            raise ValueError(f"{above}.{shortened(name)}: unknown section{nearest(name, known)}")


def _validated(kind: type[Any], values: Any, name: str) -> Any:
    """Return a section of type ``kind``. Raises ``ValueError`` with one sentence that names the key."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ValueError(sentence(error, f"{name}.", kind)) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the parameter file, with a section of every installed method.

    Raises:
        InputError: a plug-in fails to import.
    """
    methods: dict[str, Any] = {}
    for name in plugins.names("method"):
        kind = method_parameters(name)
        methods[name] = (kind, Field(default_factory=kind))
    baseline = create_model("Baseline", __base__=Section, **methods)
    description = Params.model_fields["baseline"].description
    field: Any = (baseline, Field(default_factory=baseline, description=description))
    return create_model("Params", __base__=Params, __doc__=Params.__doc__, baseline=field).model_json_schema()


def sentence(error: ValidationError, prefix: str, model: type[BaseModel]) -> str:
    """Turn pydantic's first error into one sentence that names the key."""
    errors = error.errors()
    # A misspelt key is also a missing one; the misspelling is what helps.
    first = next((entry for entry in errors if entry["type"] == "extra_forbidden"), errors[0])
    location = [shortened(str(part)) for part in first["loc"]]
    key = prefix + ".".join(part for part in location if not part.startswith(("function-", "literal[", "constrained-")))
    kind = first["type"]
    if kind == "extra_forbidden":
        owner = model
        for part in location[:-1]:
            if not part.isdigit():  # a place in a list
                annotation = owner.model_fields[part].annotation
                (owner,) = [kind for kind in get_args(annotation) or (annotation,) if isinstance(kind, type)]
        return f"unknown key '{prefix}{'.'.join(location)}'{nearest(location[-1], owner.model_fields)}"
    if kind == "missing":
        return f"key '{key}' is missing and has no default; add it"
    if kind == "value_error":
        return str(first["ctx"]["error"])
    key = key.removesuffix(".")
    if kind in ("model_type", "model_attributes_type"):
        return (
            f"'{key}' is {shortened(repr(first['input']))}: expected keys with values below it; add some or remove it"
        )
    return f"'{key}' is {shortened(repr(first['input']))}: {first['msg'][0].lower()}{first['msg'][1:]}"
