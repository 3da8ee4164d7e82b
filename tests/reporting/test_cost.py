"""Table 5: what a method's cost is made of."""

from __future__ import annotations

import numpy as np

from metadiffuser.reporting.figures.cost_and_score import cost_and_score
from metadiffuser.reporting.labels import Labels
from metadiffuser.reporting.tables.cost import costs
from metadiffuser.reporting.timings import Timings

SECONDS = {
    "train_context@smoke-point_robot-generalised-0": 100.0,
    "train_context@smoke-point_robot-focal-0": 5000.0,  # of another representation: nobody's cost
    "train_diffusion@smoke-point_robot-generalised-0": 20.0,
    "train_diffusion@smoke-point_robot-generalised-1": 40.0,
    "train_baseline@smoke-point_robot-bc-0": 3.0,
    "train_baseline@smoke-point_robot-focal-0": 7.0,
}
PLAYED = {
    "evaluate@smoke-point_robot-generalised-0": 2.0,
    "evaluate_baseline@smoke-point_robot-bc-0": 0.5,
    "evaluate_baseline@smoke-point_robot-focal-0": 0.25,
}
SIZES = {"context": 1000, "metadiffuser": 200, "bc": 30, "focal": 4}


def test_methods_that_use_z_pay_for_the_encoder_and_others_do_not() -> None:
    records = [{"job": job, "cpu_seconds": seconds, "notes": {}} for job, seconds in SECONDS.items()]
    records += [
        {"job": job, "cpu_seconds": 1.0, "notes": {"milliseconds_per_decision": time}} for job, time in PLAYED.items()
    ]
    sizes = [{"family": "point_robot", "method": name, "parameters": size} for name, size in SIZES.items()]
    labels = Labels.of({"point_robot": {}}, {"bc": {}, "focal": {}})
    found = costs(Timings(records, sizes, "generalised", labels, ["bc", "metadiffuser"])).set_index("method")
    assert found["seconds"].to_dict() == {"metadiffuser": 130.0, "bc": 103.0, "focal": 7.0}
    assert found["parameters"].to_dict() == {"metadiffuser": 1200, "bc": 1030, "focal": 4}
    assert found["milliseconds"].to_dict() == {"metadiffuser": 2.0, "bc": 0.5, "focal": 0.25}


def test_scores_are_drawn_over_the_mean_cost_of_methods_that_all_families_have() -> None:
    seconds = {
        "train_context@smoke-point_robot-generalised-0": 60.0,
        "train_context@smoke-ant_dir-generalised-0": 180.0,
        "train_diffusion@smoke-point_robot-generalised-0": 60.0,
        "train_diffusion@smoke-ant_dir-generalised-0": 180.0,
        "train_baseline@smoke-point_robot-focal-0": 30.0,
        "train_baseline@smoke-ant_dir-focal-0": 90.0,
        "train_baseline@smoke-ant_dir-corro-0": 90.0,  # not in Point-Robot
    }
    played = {f"evaluate@smoke-{name}-generalised-0": time for name, time in (("point_robot", 2.0), ("ant_dir", 4.0))}
    records = [{"job": job, "cpu_seconds": value, "notes": {}} for job, value in seconds.items()]
    records += [
        {"job": job, "cpu_seconds": 1.0, "notes": {"milliseconds_per_decision": time}} for job, time in played.items()
    ]
    labels = Labels.of({"point_robot": {}, "ant_dir": {}}, {"focal": {}, "corro": {}})
    scores = {"metadiffuser": 80.0, "focal": 40.0, "corro": 30.0}
    drawing = cost_and_score(Timings(records, [], "generalised", labels, ["metadiffuser"], scores))
    assert drawing is not None
    training, acting = drawing.figure.axes
    points = {str(line.get_label()): np.asarray(line.get_xydata())[0].tolist() for line in training.lines}
    assert points == {labels.method("metadiffuser"): [4.0, 80.0], labels.method("focal"): [1.0, 40.0]}
    assert np.asarray(acting.lines[0].get_xydata())[0].tolist() == [3.0, 80.0]


def test_without_scores_no_cost_is_drawn() -> None:
    assert cost_and_score(Timings([], [], "generalised", Labels.of({}, {}), [])) is None
