"""The types of ``params.yaml``: the only place that knows its shape. ``parameters`` reads it.

Sections may be overridden family by family under ``overrides``; ``Params.section`` merges.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from metadiffuser.errors import nearest, shortened

FamilyName = Literal["point_robot", "cheetah_vel", "cheetah_dir", "ant_dir", "hopper_param", "walker_param"]
Quality = Literal["expert", "medium", "random", "mixed"]
Representation = Literal["generalised", "focal", "corro", "true_task"]
Window = Literal["scattered", "consecutive"]
Guide = Literal["none", "return", "dynamics", "dual"]
ContextSource = Literal["expert", "medium", "random", "zero_shot", "wrong_task", "oracle"]
Sampler = Literal["ddpm", "ddim", "dpm_solver"]
BaselineName = Literal["bc", "focal", "corro", "prompt_dt", "meta_dt", "macaw", "cvae_planner"]

Count = Annotated[int, Field(ge=1, le=10**9)]
Natural = Annotated[int, Field(ge=0, le=2**53)]
Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Scale = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Widths = Annotated[list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=1, max_length=8)]
Threads = Annotated[int, Field(ge=1, le=1024)]


class Section(BaseModel):
    """A section of the parameter file: immutable, strictly typed, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Tasks(Section):
    """Stage ``define_tasks``: the task distribution's sample and its split."""

    train: Count = Field(description="tasks that models are trained on")
    test: Count = Field(description="unseen tasks, drawn after the training tasks")
    unseen: Literal["within", "beyond"] = Field(
        default="within",
        description="unseen tasks from the range of the training tasks, or from the part of the family's range that "
        "training tasks are then kept out of",
    )
    imported: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="hash of imported data that take the place of drawn tasks and collected episodes; an override "
        "of one family, written by 'metadiffuser import'",
    )


class Behaviour(Section):
    """Stage ``train_behaviour``: soft actor-critic experts (method section 5)."""

    threads: Threads = Field(description="CPU threads of one job")
    sharing: Literal["task_conditioned", "per_task"] = Field(
        description="networks that see the task's parameters, or one network a task, trained in one batch"
    )
    teachers: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3,
        description="task-conditioned agents that a shard's training tasks are dealt out to in turn; its unseen tasks "
        "have one agent of their own",
    )
    steps: Count = Field(description="environment steps of one agent")
    copies: Count = Field(description="environments stepped together by one agent")
    terminate_when_unhealthy: bool = Field(
        description="end training episodes, and their value, where gymnasium's robot would have fallen"
    )
    symmetries: bool = Field(description="train on what tasks are up to the robot's symmetries, and act through them")
    warmup_steps: Natural = Field(description="first environment steps, with uniform actions and no updates")
    updates_per_step: Scale = Field(description="gradient updates per environment step of the agent")
    actor_interval: Count = Field(description="critic updates per actor update")
    batch_size: Count = Field(description="transitions in one update")
    hidden: Widths = Field(description="hidden layer widths of actor and critics")
    learning_rate: Rate = Field(description="Adam's step size of all networks; falls linearly in the last two fifths")
    discount: Fraction = Field(description="gamma")
    target_rate: Rate = Field(description="tau: Polyak averaging rate of the target critics")
    entropy: Literal["automatic"] | Scale = Field(description="temperature: tuned, or a fixed value")
    replay_capacity: Count = Field(description="transitions an agent keeps")
    checkpoints: Annotated[int, Field(ge=3, le=1000)] = Field(
        description="policies kept along training, denser early: at the squares of even shares of it, after warm-up"
    )
    evaluation_episodes: Count = Field(description="deterministic episodes per task and checkpoint")


class Dataset(Section):
    """Stage ``collect_dataset``: episodes per task and quality (method section 5)."""

    threads: Threads = Field(description="CPU threads of one job")
    qualities: Annotated[list[Quality], Field(min_length=1)] = Field(description="datasets made of each task")
    episodes: Count = Field(description="episodes per task and quality")
    anchor_episodes: Count = Field(
        default=20,
        description="episodes of uniform actions and of the deterministic expert, apart from the datasets, whose mean "
        "returns are a task's anchors",
    )
    least_gain: Fraction = Field(
        default=0.25,
        description="of the training tasks' median gain of the expert over random, below which a task is left out; "
        "0 keeps all",
    )


class Context(Section):
    """Stage ``train_context``: context encoder with reward and dynamics models (method section 2.1)."""

    threads: Threads = Field(description="CPU threads of one job")
    qualities: Annotated[list[Quality], Field(min_length=1)] = Field(description="data trained on")
    latent_size: Count = Field(description="Z, the size of the task representation")
    latent: Literal["deterministic", "variational"] = Field(
        description="whether the generalised encoder gives z, or a normal distribution that z is drawn from in training"
    )
    kl_weight: Scale = Field(description="weight of KL(q(z | c) || N(0, 1)) per entry of a variational z")
    context_length: Count = Field(description="K, the most transitions in a context")
    window: Window = Field(description="a context is transitions from anywhere in an episode, or one stretch of it")
    encoder_width: Annotated[int, Field(ge=4, le=4096, multiple_of=4)] = Field(
        description="features of a transition in the encoder"
    )
    hidden: Widths = Field(description="hidden layer widths of the reward and dynamics models")
    steps: Count = Field(description="gradient steps")
    task_batch: Count = Field(description="tasks in one step")
    target_batch: Count = Field(description="transitions predicted per task in one step")
    learning_rate: Rate = Field(description="AdamW's peak step size, cosine decay")
    weight_decay: Fraction = Field(description="AdamW's decoupled weight decay")
    latent_noise: Fraction = Field(
        description="standard deviation of noise on z as the encoder gives it, in training (ours)"
    )


class Diffusion(Section):
    """Stage ``train_diffusion``: the conditional denoiser (method section 2.2)."""

    threads: Threads = Field(description="CPU threads of one job")
    qualities: Annotated[list[Quality], Field(min_length=1)] = Field(description="data trained on")
    horizon: Annotated[int, Field(ge=4, le=1024, multiple_of=4)] = Field(description="H, steps of a plan")
    denoising_steps: Annotated[int, Field(ge=2, le=1000)] = Field(description="T of the forward process")
    prediction_type: Literal["x0", "noise"] = Field(description="what the network is trained to output")
    width: Annotated[int, Field(ge=8, le=1024, multiple_of=8)] = Field(description="channels at full resolution")
    multipliers: Widths = Field(description="channels of each U-Net level, in multiples of width")
    steps: Count = Field(description="gradient steps")
    batch_size: Count = Field(description="trajectory segments in one step")
    learning_rate: Rate = Field(description="Adam's peak step size, cosine decay")
    ema_decay: Fraction = Field(description="decay of the averaged weights, which are what is evaluated")
    condition_dropout: Fraction = Field(description="p, probability of the null condition")
    latent_noise: Fraction = Field(
        description="standard deviation of noise on z in training, in z's own standard deviations (ours)"
    )
    first_action_weight: Scale = Field(description="loss weight of the first action")


class Planning(Section):
    """The guided planner (method section 3)."""

    sampler: Sampler = Field(description="reverse process: ancestral, deterministic, or DPM-Solver++(2M)")
    sampling_steps: Annotated[int, Field(ge=1, le=1000)] = Field(description="denoising steps of a plan")
    guidance_weight: Scale = Field(description="omega of classifier-free guidance; 1 is plain conditioning")
    temperature: Scale = Field(description="scale of the sampling noise")
    return_scale: Scale = Field(description="alpha: step along the gradient of the predicted return")
    dynamics_scale: Scale = Field(description="alpha * lambda: step along the gradient of consistency")
    unguided_steps: Natural = Field(description="last denoising steps that the guide leaves alone")
    actions_per_plan: Count = Field(description="actions executed before the plan is remade")
    candidates: Count = Field(description="plans per decision, of which the best by the guide's models is executed")
    warm_start: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        description="share of the denoising steps skipped by starting from the last plan; 0 starts from noise"
    )
    online_context: bool = Field(description="add the agent's own transitions to a warm-start context")


class SamplerSetting(Section):
    """One way to sample that the study compares."""

    sampler: Sampler = Field(description="reverse process")
    steps: Annotated[int, Field(ge=1, le=1000)] = Field(description="denoising steps of a plan; at most T are made")


class Evaluation(Section):
    """Stage ``evaluate``: the protocol on unseen tasks (method section 4)."""

    threads: Threads = Field(description="CPU threads of one job")
    episodes: Count = Field(description="episodes per unseen task and cell")
    contexts: Annotated[list[ContextSource], Field(min_length=1)] = Field(
        description="where the warm-start context comes from; the first is that of the guide ablation"
    )
    guides: Annotated[list[Guide], Field(min_length=1)] = Field(
        description="guide variants; the first is that of the warm-start comparison"
    )
    samplers: list[SamplerSetting] = Field(
        description="samplers and steps compared on training tasks, with the first guide and expert contexts"
    )
    study_tasks: Count = Field(description="training tasks that samplers are compared on: the first so many")
    study_episodes: Count = Field(description="episodes per task and sampler of that comparison")


class Method(Section):
    """What every baseline is told; each has a section of its own below ``baseline`` that adds to this."""

    threads: Threads = Field(description="CPU threads of a training job")
    qualities: Annotated[list[Quality], Field(min_length=1)] = Field(description="data trained on")
    steps: Count = Field(description="gradient steps")
    batch_size: Count = Field(description="samples in one step")
    learning_rate: Rate = Field(description="Adam's peak step size, cosine decay")


class BehaviourCloning(Method):
    """Method ``bc``: a policy of state and z, cloned."""

    hidden: Widths = Field(description="hidden layer widths of the policy")


class ActorCriticMethod(Method):
    """An encoder of its own, then a behaviour-regularised actor-critic of state and z."""

    encoder_steps: Count = Field(description="gradient steps of the encoder, before those of the actor-critic")
    task_batch: Count = Field(description="tasks in one step of the encoder")
    latent_size: Count = Field(description="Z of the method's own encoder")
    encoder_width: Annotated[int, Field(ge=4, le=4096, multiple_of=4)] = Field(
        description="features of a transition in the encoder"
    )
    hidden: Widths = Field(description="hidden layer widths of actor and critics")
    discount: Fraction = Field(description="gamma")
    target_rate: Rate = Field(description="tau: Polyak averaging rate of the target critics")
    target_divergence: Scale = Field(description="delta: KL(pi || b) that the actor is held to, in nats")


class Focal(ActorCriticMethod):
    """Method ``focal``: an encoder trained by distances of contexts."""


class Corro(ActorCriticMethod):
    """Method ``corro``: an encoder trained by contrast with relabelled data."""


class PromptedMethod(Method):
    """A decision transformer with a prompt."""

    layers: Count = Field(description="blocks of the transformer")
    width: Count = Field(description="features of a token")
    window: Count = Field(description="K, the most steps of history that are read")
    prompt: Count = Field(description="steps of the prompt")


class PromptDT(PromptedMethod):
    """Method ``prompt_dt``: steps of another episode as a prompt."""


class MetaDT(PromptedMethod):
    """Method ``meta_dt``: z of a world model with every state, and the steps that it predicts worst as a prompt."""

    latent_size: Count = Field(description="Z of the world model")
    context_length: Count = Field(description="transitions that z is made of")
    encoder_width: Count = Field(description="features of the world model's recurrent unit and hidden layers")


class Macaw(Method):
    """Method ``macaw``: value function and policy meta-learned for one inner gradient step."""

    batch_size: Count = Field(description="transitions of a task in one step, on which the adapted policy is judged")
    task_batch: Count = Field(description="tasks in one step")
    hidden: Widths = Field(description="hidden layer widths of value function and policy")
    discount: Fraction = Field(description="gamma of the returns")
    inner_rate: Rate = Field(description="initial step size of the inner step; learned from there")
    head_weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(
        description="initial weight of the advantage head's inner loss; learned from there"
    )
    temperature: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(
        description="T of advantage weights exp(A / T), in normalised rewards"
    )
    adaptation_steps: Annotated[int, Field(ge=1, le=100)] = Field(description="inner steps at play; training has one")


class CvaePlanner(Method):
    """Method ``cvae_planner``: the planner with a conditional VAE over segments in place of the diffusion model."""

    horizon: Annotated[int, Field(ge=4, le=1024, multiple_of=4)] = Field(description="H, as the planner's")
    code_size: Count = Field(description="entries of the VAE's code of a segment")
    hidden: Widths = Field(description="hidden layer widths of the VAE's encoder and, reversed, decoder")
    divergence_weight: Scale = Field(description="beta: weight of the KL in the loss")
    ema_decay: Fraction = Field(description="decay of the averaged weights, as the planner's")
    condition_dropout: Fraction = Field(description="p, probability of the null condition, as the planner's")
    first_action_weight: Scale = Field(description="loss weight of the first action, as the planner's")
    temperature: Scale = Field(description="scale of the code that a plan is decoded from, as of the planner's noise")
    return_scale: Scale = Field(description="alpha: step along the gradient of the predicted return, as the planner's")
    dynamics_scale: Scale = Field(
        description="alpha * lambda: step along the gradient of consistency, as the planner's"
    )
    guide_steps: Natural = Field(description="gradient steps of the guide on a plan")


class Baseline(Section):
    """Stage ``train_baseline``: one section a method; a job is told its own method's alone."""

    bc: BehaviourCloning
    focal: Focal
    corro: Corro
    prompt_dt: PromptDT
    meta_dt: MetaDT
    macaw: Macaw
    cvae_planner: CvaePlanner


class Rendering(Section):
    """Stage ``render_rollouts``: videos and film strips."""

    width: Annotated[int, Field(ge=64, le=1920, multiple_of=16)] = Field(description="pixels")
    height: Annotated[int, Field(ge=64, le=1920, multiple_of=16)] = Field(description="pixels")
    frames: Annotated[int, Field(ge=2, le=100000)] = Field(description="most frames of a video")
    strip_frames: Annotated[int, Field(ge=2, le=16)] = Field(description="pictures in the film strip")
    tasks: Count = Field(description="unseen tasks shown per family")


class Report(Section):
    """Stages ``make_tables``, ``make_figures`` and ``make_report``."""

    digits: Annotated[int, Field(ge=0, le=6)] = Field(description="decimals of scores in tables")
    confidence: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = Field(description="interval coverage")
    bootstrap_samples: Count = Field(description="resamples of the stratified bootstrap")
    title: Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")] = Field(
        description="heading of the report"
    )


OVERRIDABLE: dict[str, type[Section]] = {
    "tasks": Tasks,
    "behaviour": Behaviour,
    "dataset": Dataset,
    "context": Context,
    "diffusion": Diffusion,
    "planning": Planning,
    "evaluation": Evaluation,
    "rendering": Rendering,
    **{f"baseline.{name}": cast(type[Section], field.annotation) for name, field in Baseline.model_fields.items()},
}


class Params(Section):
    """The whole of ``params.yaml``."""

    preset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = Field(
        description="name of the folders below artifacts/ and results/"
    )
    seed: Natural = Field(description="the root of every random number")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where networks run; auto takes CUDA if present")
    families: Annotated[list[FamilyName], Field(min_length=1)] = Field(description="environment families")
    representations: Annotated[list[Representation], Field(min_length=1)] = Field(
        description="task representations; the first is MetaDiffuser's"
    )
    baselines: Annotated[list[BaselineName], Field(min_length=1)] = Field(
        description="methods that MetaDiffuser is compared with"
    )
    seeds: Annotated[list[Natural], Field(min_length=1, max_length=100)] = Field(description="training seeds")
    shards: Annotated[list[Natural], Field(min_length=1, max_length=1000)] = Field(
        description="jobs that a family's tasks are divided into for behaviour training: 0, 1, ..."
    )
    tasks: Tasks
    behaviour: Behaviour
    dataset: Dataset
    context: Context
    diffusion: Diffusion
    planning: Planning
    evaluation: Evaluation
    baseline: Baseline
    rendering: Rendering
    report: Report
    overrides: dict[str, dict[str, dict[str, Any]]] = Field(
        description="per family: values that replace those of the sections above"
    )

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
        self._check_overrides()
        return self

    def _check_overrides(self) -> None:
        known = get_args(FamilyName)
        for key in self.overrides:
            if key not in known:
                raise ValueError(f"overrides.{shortened(key)}: unknown family{nearest(key, known)}")
        for family in self.families:
            if family not in self.overrides:
                raise ValueError(f"overrides.{family}: missing; give an empty section to each of {list(OVERRIDABLE)}")
        for key, given in self.overrides.items():
            methods = given.get("baseline", {})
            sections = {name: value for name, value in given.items() if name != "baseline"}
            sections |= {f"baseline.{name}": value for name, value in methods.items()}
            for name in sections:
                if name not in OVERRIDABLE:
                    raise ValueError(f"overrides.{key}.{shortened(name)}: unknown section{nearest(name, OVERRIDABLE)}")
            for name in OVERRIDABLE:
                if name not in sections:
                    leaf = name.rpartition(".")[2]
                    raise ValueError(f"overrides.{key}.{name}: missing; write '{leaf}: {{}}' for no override")
                if not isinstance(sections[name], dict):
                    raise ValueError(f"overrides.{key}.{name}: expected a mapping of keys to values")
                self.section(name, key)

    def section(self, name: str, family: str | None = None) -> Any:
        """Return section ``name``, such as ``baseline.bc``, with the overrides of ``family`` merged in."""
        section: Section = attrgetter(name)(self)
        if family is None or name not in OVERRIDABLE:
            return section
        override: Any = self.overrides[family]
        for part in name.split("."):
            override = override[part]
        try:
            return type(section).model_validate({**section.model_dump(), **override})
        except ValidationError as error:
            raise ValueError(sentence(error, f"overrides.{family}.{name}.", type(section))) from None


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
        return f"key '{key}' is missing; the presets show every key"
    if kind == "value_error":
        return str(first["ctx"]["error"])
    return f"'{key}' is {shortened(repr(first['input']))}: {first['msg'][0].lower()}{first['msg'][1:]}"
