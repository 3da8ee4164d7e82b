"""Record what the schedulers of diffusers do, for ``test_samplers.py``.

The tests read the record, so that they need neither that library nor what it brings along:

    pip install diffusers && python -m tests.diffusion.record_samplers
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from metadiffuser.diffusion.schedule import cosine_alphas_cumprod

TOTAL = 20  # T
START = [-1.3, 0.2, 0.9]


def prediction(step: int, x: float) -> float:
    """Return a stand-in for the denoiser's x0."""
    return math.tanh(0.3 + 0.8 * x - 0.02 * step)


def record() -> dict[str, Any]:
    """Return the paths of DDIM and DPM-Solver++(2M) on our schedule, after every step."""
    import diffusers  # type: ignore[import-not-found, unused-ignore]

    rates = cosine_alphas_cumprod(TOTAL)
    schedule = {"trained_betas": (1 - rates[1:] / rates[:-1]).tolist(), "prediction_type": "sample"}
    schedule["timestep_spacing"] = "trailing"
    ddim = diffusers.DDIMScheduler(TOTAL, **schedule, clip_sample=False, set_alpha_to_one=True)
    solver = diffusers.DPMSolverMultistepScheduler(
        TOTAL, **schedule, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero"
    )
    runs: dict[str, Any] = {}
    for name, scheduler in (("ddim", ddim), ("dpm_solver", solver)):
        for count in (20, 10, 5):
            scheduler.set_timesteps(count)
            steps = [int(time) + 1 for time in scheduler.timesteps]  # diffusers counts from 0
            x, path = torch.tensor(START, dtype=torch.float64), []
            for time, step in zip(scheduler.timesteps, steps, strict=True):
                clean = torch.tensor([prediction(step, float(value)) for value in x], dtype=torch.float64)
                x = scheduler.step(clean, time, x).prev_sample.double()
                path.append([round(float(value), 7) for value in x])
            runs[f"{name}-{count}"] = {"steps": steps, "path": path}
    return {"diffusers": diffusers.__version__, "start": START, "runs": runs}


if __name__ == "__main__":
    text = json.dumps(record())
    Path(__file__).with_name("diffusers_samplers.json").write_text(text + "\n")
