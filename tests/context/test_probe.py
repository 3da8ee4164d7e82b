"""The linear probe of z: exact where z holds the parameters, silent where it does not, and the same as refitting."""

from __future__ import annotations

import numpy as np
import pytest

from metadiffuser.context.probe import explained, left_out, principal_axes, probe


def uniform(tasks: int, parameters: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-3, 3, (tasks, parameters))


def permutations() -> np.random.Generator:
    return np.random.default_rng(7)


def test_leaving_out_by_the_formula_is_leaving_out_by_refitting() -> None:
    generator = np.random.default_rng(0)
    latents, targets = generator.normal(size=(9, 3)), generator.normal(size=(9, 2))
    residuals, deviations = left_out(latents, targets)
    scaled = (latents - latents.mean(axis=0)) / latents.std(axis=0)
    for task in range(9):
        kept = np.arange(9) != task
        design = np.concatenate([scaled[kept], np.ones((8, 1))], axis=1)
        penalty = np.diag([10.0] * 3 + [0.0])  # and none of the intercept
        weights = np.linalg.solve(design.T @ design + penalty, design.T @ targets[kept])
        predicted = np.append(scaled[task], 1.0) @ weights
        assert np.allclose(residuals[task], targets[task] - predicted)
        assert np.allclose(deviations[task], targets[task] - targets[kept].mean(axis=0))


def test_an_exact_linear_image_of_the_parameters_reads_about_one() -> None:
    parameters = uniform(50, 2)
    latents = parameters @ np.random.default_rng(1).normal(size=(2, 16)) + 4.0
    found = probe(latents, parameters, permutations())
    assert bool((found.r2 > 0.99).all())
    assert found.identified.tolist() == [True, True]
    assert probe(1e3 * latents, parameters, permutations()).r2 == pytest.approx(found.r2), "whatever the scale of z"


def test_a_random_z_stays_under_what_chance_reads() -> None:
    hits, identified = [], []
    for seed in range(20):
        latents = np.random.default_rng(seed).normal(size=(40, 8))
        found = probe(latents, uniform(40, 20, seed + 1000), permutations())
        hits.append((found.r2 > found.null).mean())
        identified.append(found.identified.any())
    assert 0.015 < np.mean(hits) < 0.1, "one parameter in twenty exceeds its own 95th percentile"
    assert np.mean(identified) <= 0.2, "and one probe in twenty that of the largest"
    assert found.null_of_largest > found.null.max()


def test_where_unpenalised_least_squares_read_less_than_nothing_the_probe_reads_z() -> None:
    """z is an exact image of 34 parameters in 16 dimensions, of which 45 tasks fitted and 5 read gave -0.08 or less."""
    least_squares = []
    for seed in range(8):
        parameters = uniform(50, 34, seed)
        latents = parameters @ np.random.default_rng(seed + 100).normal(size=(34, 16))
        design = np.concatenate([latents, np.ones((50, 1))], axis=1)
        weights = np.linalg.lstsq(design[:45], parameters[:45], rcond=None)[0]
        least_squares.append(
            explained(parameters[45:] - design[45:] @ weights, parameters[45:] - parameters[45:].mean(0), axis=None)
        )
        found = probe(latents, parameters, permutations())
        assert found.identified.sum() >= 8
        assert np.maximum(found.r2, 0).sum() > 6, "16 dimensions hold at most 16 parameters' variance"
    assert np.mean(least_squares) < 0


def test_parameters_that_z_holds_are_told_from_those_that_it_does_not() -> None:
    parameters = uniform(60, 12)
    generator = np.random.default_rng(3)
    latents = parameters[:, :4] @ generator.normal(size=(4, 8)) + 0.3 * generator.normal(size=(60, 8))
    found = probe(latents, parameters, permutations())
    assert found.identified.tolist() == [True] * 4 + [False] * 8


def test_what_never_changes_reads_nothing() -> None:
    parameters = np.concatenate([uniform(20, 1), np.full((20, 1), 0.1)], axis=1)
    constant = probe(np.full((20, 3), 0.1, np.float32), parameters, permutations())
    assert constant.r2.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert not constant.identified.any()
    image = probe(parameters @ np.ones((2, 3)), parameters, permutations())
    assert image.r2[0] > 0.9
    assert image.r2[1] == 0.0


def test_tasks_without_parameters_have_nothing_to_read() -> None:
    found = probe(np.ones((5, 3)), np.zeros((5, 0)), permutations())
    assert found.r2.size == found.identified.sum() == found.null_of_largest == 0


def test_a_probe_repeats_to_the_bit_and_depends_on_its_generator() -> None:
    latents, parameters = np.random.default_rng(0).normal(size=(20, 4)), uniform(20, 3)
    first, again = (probe(latents, parameters, permutations()).to_json() for _ in range(2))
    other = probe(latents, parameters, np.random.default_rng(8)).to_json()
    assert first == again
    assert other["r2"] == first["r2"]
    assert other["null"] != first["null"]


def test_explained_over_all_parameters_alike_is_not_the_mean_of_shares() -> None:
    residuals = np.array([[1.0, 0.0], [1.0, 0.0]])
    deviations = np.array([[1.0, 3.0], [-1.0, -3.0]])
    assert explained(residuals, deviations).tolist() == [0.0, 1.0]
    assert explained(residuals, deviations, axis=None) == pytest.approx(0.9)


def test_principal_axes_find_the_main_direction() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(200, 3)) * np.array([0.1, 5.0, 1.0])
    xy = principal_axes(points)(points)
    assert np.corrcoef(xy[:, 0], points[:, 1])[0, 1] > 0.99
    assert principal_axes(points[:, :1])(points[:, :1]).shape == (200, 2)
