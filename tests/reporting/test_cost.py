"""Table 5: what a method's cost is made of."""

from __future__ import annotations

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
