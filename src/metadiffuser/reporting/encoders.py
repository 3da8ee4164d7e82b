"""The metrics of the context encoders as tidy tables.

| table | one row per | columns |
|---|---|---|
| ``read_probes`` | encoder and context quality | family, representation, seed, quality, train_r2, test_r2 |
| ``read_identifiable`` | encoder | family, representation, seed, parameters, train_r2, test_r2 |
| ``read_rollout_errors`` | encoder, split and steps | family, representation, seed, split, ahead, reward, state |
| ``read_diagnostics`` | trained context encoder | family, representation, seed, probe R2 and model errors |
| ``read_errors_by_latent`` | encoder, split and z | family, representation, seed, split, latent, reward, dynamics |
| ``read_probe_parameters`` | encoder and parameter | family, representation, seed, parameter, r2, chance, carried |
| ``read_embeddings`` | context embedded | family, representation, seed, task, split, quality, parameters, x, y |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from metadiffuser.reporting.scores import MODEL, metrics_record

DIAGNOSTICS = (
    *MODEL,
    "train_r2",
    "test_r2",
    "train_reward",
    "test_reward",
    "train_dynamics",
    "test_dynamics",
)


def read_probes(context: Sequence[Path]) -> pd.DataFrame:
    """Read the probes of z by the context's quality from CONTEXT_METRICS. Raises ``InputError``."""
    rows = []
    for path in context:
        with metrics_record(path) as content:
            named = [content[name] for name in MODEL]
            for quality, probe in content["probe_by_quality"].items():
                rows.append((*named, quality, float(probe["train_r2"]), float(probe["test_r2"])))
    return pd.DataFrame(rows, columns=[*MODEL, "quality", "train_r2", "test_r2"])


def read_identifiable(context: Sequence[Path]) -> pd.DataFrame:
    """Read the probe of the identifiable parameters from CONTEXT_METRICS. Raises ``InputError``."""
    rows = []
    for path in context:
        with metrics_record(path) as content:
            probe = content["probe_identifiable"]
            values = (int(probe["parameters"]), float(probe["train_r2"]), float(probe["test_r2"]))
            rows.append((*(content[name] for name in MODEL), *values))
    return pd.DataFrame(rows, columns=[*MODEL, "parameters", "train_r2", "test_r2"])


def read_rollout_errors(context: Sequence[Path]) -> pd.DataFrame:
    """Read the models' errors over one and more steps from CONTEXT_METRICS. Raises ``InputError``."""
    rows = []
    for path in context:
        with metrics_record(path) as content:
            named = [content[name] for name in MODEL]
            for split, by_steps in content["rollout_errors"].items():
                for ahead in sorted(by_steps, key=int):
                    values = (float(by_steps[ahead][name]) for name in ("reward", "state"))
                    rows.append((*named, split, int(ahead), *values))
    return pd.DataFrame(rows, columns=[*MODEL, "split", "ahead", "reward", "state"])


def read_diagnostics(context: Sequence[Path]) -> pd.DataFrame:
    """Read probes and model errors from CONTEXT_METRICS. Raises ``InputError``."""
    rows = []
    for path in context:
        with metrics_record(path) as content:
            probe, errors = content["probe"], content["errors"]
            values = [probe["train_r2"], probe["test_r2"]]
            values += [errors[split][part] for part in ("reward", "dynamics") for split in ("train", "test")]
            rows.append((*(content[name] for name in MODEL), *map(float, values)))
    return pd.DataFrame(rows, columns=list(DIAGNOSTICS))


def read_errors_by_latent(context: Sequence[Path]) -> pd.DataFrame:
    """Read the models' errors with the right and with other z from CONTEXT_METRICS that have them.

    Raises ``InputError``.
    """
    rows = []
    for path in context:
        with metrics_record(path) as content:
            named = [content[name] for name in MODEL]
            for split, by_latent in content.get("errors_by_latent", {}).items():
                for latent, parts in by_latent.items():
                    rows.append((*named, split, latent, float(parts["reward"]), float(parts["dynamics"])))
    return pd.DataFrame(rows, columns=[*MODEL, "split", "latent", "reward", "dynamics"])


def read_probe_parameters(context: Sequence[Path]) -> pd.DataFrame:
    """Read the probe of each of the task's parameters from CONTEXT_METRICS that have it. Raises ``InputError``."""
    rows = []
    for path in context:
        with metrics_record(path) as content:
            if "probe_parameters" in content:
                probe, named = content["probe_parameters"], [content[name] for name in MODEL]
                limit = float(probe["null_of_largest"])
                values = zip(probe["names"], map(float, probe["r2"]), map(float, probe["null"]), strict=True)
                rows += [(*named, str(name), r2, chance, bool(r2 > limit)) for name, r2, chance in values]
    return pd.DataFrame(rows, columns=[*MODEL, "parameter", "r2", "chance", "carried"])


def read_embeddings(context: Sequence[Path]) -> pd.DataFrame:
    """Read the embedded contexts from CONTEXT_METRICS. Raises ``InputError``."""
    rows = []
    for path in context:
        with metrics_record(path) as content:
            for point in content["embeddings"]:
                x, y = map(float, point["xy"])
                parameters = tuple(map(float, point["parameters"]))
                named = [content[name] for name in MODEL]
                rows.append((*named, int(point["task"]), point["split"], point["quality"], parameters, x, y))
    return pd.DataFrame(rows, columns=[*MODEL, "task", "split", "quality", "parameters", "x", "y"])
