"""The sections of ``params.yaml`` that every preset has: one type each, with a default and a description of every key.

The defaults are the values of the preset ``laptop`` before its overrides. A section of a method, below ``baseline``, is
the class ``Parameters`` in the method's own file.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Quality = Literal["expert", "medium", "random", "mixed"]
Representation = Literal["generalised", "focal", "corro", "true_task"]
Window = Literal["scattered", "consecutive"]
Loss = Literal["squared", "huber"]
Guide = Literal["none", "return", "dynamics", "dual"]
ContextSource = Literal["expert", "medium", "random", "zero_shot", "wrong_task", "oracle"]
GivenSource = Literal["expert", "medium", "random", "zero_shot"]
Sampler = Literal["ddpm", "ddim", "dpm_solver"]
STUDIED: dict[Sampler, tuple[int, ...]] = {"ddpm": (20, 10, 5, 2), "ddim": (10, 5, 3, 2), "dpm_solver": (5, 3)}
ZeroShot = Literal["encoder", "hypotheses"]

Count = Annotated[int, Field(ge=1, le=10**9)]
Natural = Annotated[int, Field(ge=0, le=2**53)]
Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Scale = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Widths = Annotated[list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=1, max_length=8)]
EncoderWidth = Annotated[int, Field(ge=4, le=4096, multiple_of=4)]
Horizon = Annotated[int, Field(ge=4, le=1024, multiple_of=4)]

# Keys of several sections, with their description: ``steps: GradientSteps = 8000``.
Threads = Annotated[int, Field(ge=1, le=1024, description="CPU threads of one job")]
Qualities = Annotated[list[Quality], Field(min_length=1, description="qualities of the data trained on")]
GradientSteps = Annotated[Count, Field(description="gradient steps")]
BatchSize = Annotated[Count, Field(description="samples in one gradient step")]
LearningRate = Annotated[Rate, Field(description="Adam's peak step size, cosine decay")]


class Section(BaseModel):
    """A section of the parameter file: immutable, strictly typed, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Tasks(Section):
    """Stage ``define_tasks``: how many tasks are drawn, and their split."""

    train: Count = Field(45, description="tasks that models are trained on")
    test: Count = Field(20, description="unseen tasks, drawn after the training tasks")
    unseen: Literal["within", "beyond"] = Field(
        "within", description="unseen tasks are from the range of the training tasks, or from outside it"
    )
    imported: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="hash of imported data, which replace drawn tasks and collected episodes; an override of one "
        "family, written by 'metadiffuser import'",
    )


class Behaviour(Section):
    """Stage ``train_behaviour``: soft actor-critic experts (docs/data.md)."""

    threads: Threads = 1
    sharing: Literal["task_conditioned", "per_task"] = Field(
        "task_conditioned", description="networks that see the task's parameters, or one network for each task"
    )
    teachers: Annotated[int, Field(ge=1, le=100)] = Field(
        3,
        description="task-conditioned agents that a shard's training tasks are dealt out to; unseen tasks have another",
    )
    teachers_learn: Literal["own_tasks", "all_tasks"] = Field(
        "own_tasks", description="training tasks that each teacher learns: those it is to act on, or all of the shard"
    )
    steps: Count = Field(400_000, description="environment steps of one agent")
    copies: Count = Field(64, description="environments stepped together by one agent")
    terminate_when_unhealthy: bool = Field(
        True, description="end training episodes, and their value, where gymnasium's robot counts as fallen"
    )
    symmetries: bool = Field(
        True, description="train on one task of each class that the robot's symmetries map onto each other"
    )
    warmup_steps: Natural = Field(4000, description="first environment steps, with uniform actions and no updates")
    updates_per_step: Scale = Field(0.25, description="gradient updates per environment step of the agent")
    actor_interval: Count = Field(2, description="critic updates per actor update")
    batch_size: Count = Field(256, description="transitions in one update")
    hidden: Widths = Field([128, 128], description="hidden layer widths of actor and critics")
    learning_rate: Rate = Field(0.001, description="Adam's step size; falls linearly in the last two fifths")
    discount: Fraction = Field(0.99, description="gamma")
    target_rate: Rate = Field(0.005, description="tau: Polyak averaging rate of the target critics")
    entropy: Literal["automatic"] | Scale = Field("automatic", description="temperature: tuned, or a fixed value")
    replay_capacity: Count = Field(1_000_000, description="transitions an agent keeps")
    checkpoints: Annotated[int, Field(ge=3, le=1000)] = Field(
        40, description="policies kept along training after warm-up, denser early: at the squares of even shares"
    )
    evaluation_episodes: Count = Field(2, description="deterministic episodes per task and checkpoint")


class Dataset(Section):
    """Stage ``collect_dataset``: episodes per task and quality (docs/data.md)."""

    threads: Threads = 1
    qualities: Annotated[list[Quality], Field(min_length=1)] = Field(
        ["expert", "medium", "random", "mixed"], description="datasets collected of each task"
    )
    episodes: Count = Field(50, description="episodes per task and quality")
    anchor_episodes: Count = Field(
        20, description="episodes of random actions and of the deterministic expert, whose means anchor a task's scores"
    )
    least_gain: Fraction = Field(
        0.25, description="share of the training tasks' median gain over random below which a task is left out"
    )


class Context(Section):
    """Stage ``train_context``: encoder, reward and dynamics models (docs/methods/metadiffuser.md, section 1)."""

    threads: Threads = 1
    qualities: Qualities = ["mixed", "random"]
    latent_size: Count = Field(16, description="Z, the size of the task representation")
    latent: Literal["deterministic", "variational"] = Field(
        "deterministic", description="the encoder outputs z, or a normal distribution that training samples z from"
    )
    kl_weight: Scale = Field(0.001, description="weight of KL(q(z | c) || N(0, 1)) per entry of a variational z")
    context_length: Count = Field(40, description="K, the most transitions in a context")
    window: Window = Field(
        "scattered", description="a context is transitions from anywhere in an episode, or one stretch of it"
    )
    encoder_width: EncoderWidth = Field(64, description="features of a transition in the encoder")
    hidden: Widths = Field([256, 256], description="hidden layer widths of the reward and dynamics models")
    steps: GradientSteps = 8000
    task_batch: Count = Field(16, description="tasks in one gradient step")
    target_batch: Count = Field(32, description="transitions predicted per task in one gradient step")
    learning_rate: Rate = Field(0.001, description="AdamW's peak step size, cosine decay")
    weight_decay: Fraction = Field(0.0001, description="AdamW's decoupled weight decay")
    latent_noise: Fraction = Field(
        0.0, description="standard deviation of noise added to the encoder's z in training (ours)"
    )
    regressors: Count = Field(default=16, description="F, regressors of the least-squares problem inside the encoder")
    regression_targets: Count = Field(default=8, description="targets that the encoder regresses on them")
    loss: Loss = Field(
        default="squared",
        description="penalty of an error of the reward and dynamics models: its square, or linear from huber_delta on",
    )
    huber_delta: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(
        default=1.0, description="error, in normalised units, from which on the Huber loss is linear"
    )
    value_discount: Fraction = Field(default=0.97, description="gamma of the return to go that V(s, z) is trained on")


class Diffusion(Section):
    """Stage ``train_diffusion``: the conditional denoiser (docs/methods/metadiffuser.md, section 2)."""

    threads: Threads = 1
    qualities: Qualities = ["mixed"]
    horizon: Horizon = Field(16, description="H, steps of a plan")
    denoising_steps: Annotated[int, Field(ge=2, le=1000)] = Field(20, description="T of the forward process")
    prediction_type: Literal["x0", "noise"] = Field("x0", description="what the network is trained to output")
    width: Annotated[int, Field(ge=8, le=1024, multiple_of=8)] = Field(64, description="channels at full resolution")
    multipliers: Widths = Field([1, 2], description="channels of each U-Net level, in multiples of width")
    steps: GradientSteps = 12000
    batch_size: Count = Field(128, description="trajectory segments in one gradient step")
    learning_rate: LearningRate = 0.001
    ema_decay: Fraction = Field(0.995, description="decay of the averaged weights, which are what is evaluated")
    condition_dropout: Fraction = Field(0.25, description="p, probability of the null condition")
    latent_noise: Fraction = Field(
        0.0, description="standard deviation of noise on z in training, in units of z's own standard deviation (ours)"
    )
    first_action_weight: Scale = Field(10.0, description="loss weight of the first action")


class Planning(Section):
    """The guided planner (docs/methods/metadiffuser.md, section 3)."""

    sampler: Sampler = Field("ddim", description="reverse process: ancestral, deterministic, or DPM-Solver++(2M)")
    sampling_steps: Annotated[int, Field(ge=1, le=1000)] = Field(3, description="denoising steps of a plan")
    guidance_weight: Scale = Field(1.2, description="omega of classifier-free guidance; 1 is plain conditioning")
    temperature: Scale = Field(0.5, description="scale of the sampling noise")
    return_scale: Scale = Field(1.0, description="alpha: step along the gradient of the predicted return")
    dynamics_scale: Scale = Field(0.1, description="alpha * lambda: step along the gradient of dynamics consistency")
    value_scale: Scale = Field(
        0.0,
        description="weight of V(s, z), the value beyond the horizon, beside a plan's predicted return (ours)",
    )
    unguided_steps: Natural = Field(1, description="last denoising steps without guidance by the models")
    actions_per_plan: Count = Field(1, description="actions executed before planning again")
    candidates: Count = Field(1, description="plans per decision; the one rated best by the guide's models is executed")
    online_context: bool = Field(False, description="add the agent's own transitions to a warm-start context")
    zero_shot: ZeroShot = Field(
        "encoder",
        description="z until own transitions fill a context: the encoder's, or that of like training tasks (ours)",
    )
    hypotheses: Count = Field(64, description="training tasks whose z are weighed, at most")
    refinement_steps: Natural = Field(20, description="gradient steps of the weighed z, through the models")


class Calibration(Section):
    """Stages ``calibrate`` and ``calibrate_baseline``: what acts at test time only is chosen on training tasks."""

    threads: Threads = 1
    tasks: Count = Field(20, description="training tasks, evenly spread over the list; all if there are fewer")
    episodes: Count = Field(1, description="episodes per task, context and setting")
    contexts: Annotated[list[GivenSource], Field(min_length=1)] = Field(
        ["expert"], description="sources of the warm-start context; the score is the mean over them"
    )
    settings: Count = Field(
        18, description="most settings that are tried of any method, its own included; 1 keeps its own"
    )
    beyond: bool = Field(
        True,
        description="also calibrate and evaluate a planner that takes the best of 8 plans by V(s, z), not the paper's",
    )
    simulator: bool = Field(
        True, description="settings are judged in the simulator, or, without access to one, by the learned models"
    )


class SamplerSetting(Section):
    """One way to sample that the study compares."""

    sampler: Sampler = Field(description="reverse process")
    steps: Annotated[int, Field(ge=1, le=1000)] = Field(description="denoising steps of a plan; at most T are made")


class Evaluation(Section):
    """Stages ``evaluate`` and ``evaluate_baseline``: play on unseen tasks (docs/methods/metadiffuser.md, section 4)."""

    threads: Threads = 1
    episodes: Count = Field(5, description="episodes per unseen task and cell")
    contexts: Annotated[list[ContextSource], Field(min_length=1)] = Field(
        ["expert", "medium", "random", "zero_shot", "wrong_task", "oracle"],
        description="sources of the warm-start context; the guide ablation uses the first",
    )
    guides: Annotated[list[Guide], Field(min_length=1)] = Field(
        ["dual", "none", "return", "dynamics"],
        description="guide variants; the comparison of warm starts uses the first",
    )
    samplers: list[SamplerSetting] = Field(
        [SamplerSetting(sampler=sampler, steps=steps) for sampler, counts in STUDIED.items() for steps in counts],
        description="samplers and steps compared on training tasks, with the first guide and expert contexts",
    )
    study_tasks: Count = Field(10, description="training tasks that samplers are compared on: the first so many")
    study_episodes: Count = Field(2, description="episodes per task and sampler of that comparison")


class MethodParameters(Section):
    """What every method's section has; the class ``Parameters`` of a method's file derives from this.

    Every key needs a default and a description: they are what ``metadiffuser use`` writes to params.yaml.

    Attributes:
        least_tasks: training tasks that the method needs, as it tells tasks apart.
    """

    least_tasks: ClassVar[int] = 1

    threads: Threads = 1
    qualities: Qualities = ["mixed"]
    steps: GradientSteps = 10000
    batch_size: BatchSize = 256
    learning_rate: LearningRate = 0.001


class Rendering(Section):
    """Stage ``render_rollouts``: videos and film strips."""

    width: Annotated[int, Field(ge=64, le=1920, multiple_of=16)] = Field(480, description="pixels")
    height: Annotated[int, Field(ge=64, le=1920, multiple_of=16)] = Field(480, description="pixels")
    frames: Annotated[int, Field(ge=2, le=100000)] = Field(200, description="most frames of a video")
    strip_frames: Annotated[int, Field(ge=2, le=16)] = Field(8, description="pictures in the film strip")
    tasks: Count = Field(2, description="unseen tasks shown per family")


class Report(Section):
    """Stages ``make_tables``, ``make_figures`` and ``make_report``."""

    digits: Annotated[int, Field(ge=0, le=6)] = Field(1, description="decimals of scores in tables")
    confidence: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = Field(
        0.95, description="coverage of confidence intervals"
    )
    bootstrap_samples: Count = Field(10000, description="resamples of the stratified bootstrap")
    title: Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")] = Field(
        "MetaDiffuser, reproduced", description="heading of the report"
    )
