"""The design: arms that differ in one thing, and the jobs that make and evaluate their encoders.

    A  the encoder as it is
    B  A, continued with masked language modelling alone: B - A is what the text brings
    C  A, continued with sparse latent typing:            C - B is what the method brings

An arm has an encoder for each pre-training seed; with one seed, all arms see the same sentences in the same order with
the same masking. Each encoder is evaluated with several few-shot seeds, all on the same episodes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from common.errors import UserError
from common.flags import Count, argument, flag
from evaluations.few_shot.data import TYPES
from study.jobs import Job

CHOSEN_ON = 100  # INTRA's first episodes serve choosing, the others reporting


@dataclass(frozen=True)
class Arm:
    """How the encoder is continued: pretrain.py's weights and other flags."""

    alpha: float = 0.05
    beta: float = 0.05
    gamma: float = 0.1
    gentle: bool = False  # a tenth of the encoder's rate, three tenths of the steps
    flags: dict[str, Any] = field(default_factory=dict)


def cooled_to(end: float) -> dict[str, float]:
    """The temperature falls from 5 to `end` over the whole run; 5 * (1 - 3e-5)^step, the paper's, hardly falls."""
    return {"temperature_share": 1, "temperature_end": end}


MLM_ALONE, GENTLE = Arm(alpha=0, beta=0, gamma=0), Arm(gentle=True, flags=cooled_to(4.9108))
ARMS = {
    "B": MLM_ALONE,
    "C": Arm(flags=cooled_to(4.7088)),
    "B_gentle": replace(MLM_ALONE, gentle=True),
    "C_gentle": GENTLE,
    "C_alpha0.5": replace(GENTLE, alpha=0.5),
    "C_beta0.2": replace(GENTLE, beta=0.2),
    "C_sparsity": replace(GENTLE, alpha=0, beta=0.2, gamma=0),
    "C_kl_plain": replace(GENTLE, flags={**GENTLE.flags, "kl_form": "plain"}),
    "C_annealed": replace(GENTLE, flags=cooled_to(0.5)),
}


class Rates(NamedTuple):
    """Learning rates at their peak, and the steps over which they rise."""

    learning_rate: float
    encoder_learning_rate: float
    warmup_steps: float

    @classmethod
    def read(cls, text: str) -> "Rates":
        """Of `1e-3:5e-4:100`.

        Raises:
            UserError: it is something else.
        """
        try:
            return cls(*map(float, text.split(":")))
        except (TypeError, ValueError):
            raise UserError(f"{text.strip()}: rates look like 1e-3:5e-4:100") from None

    def __str__(self) -> str:
        return ":".join(f"{value:g}" for value in self)


@dataclass(frozen=True, kw_only=True)
class Study:
    """The parameters of a study."""

    directory: Path = argument("directory of the study", "STUDY")
    model: str = flag("minilm", "encoder: hub id, local directory, or `minilm`")
    data: str = flag("news", "corpus to continue on, as for pretrain.py")
    texts: list[str] = flag([], "raw texts of which data/DATA.txt is made first")
    elsewhere: str = flag("wiki_sample", "corpus of another kind, for the perplexity and the states")
    few_nerd: Path = flag(Path("evaluations/ner/CONTaiNER/data/few-nerd"), "directory of the few-shot data")
    mixed_precision: Literal["no", "bf16"] = flag("no", "precision")
    max_steps: Count = flag(2000, "optimiser steps of B and C")
    pretraining_seeds: list[int] = flag([61820], "seeds of pre-training")
    seeds: list[int] = flag([0, 1, 2], "few-shot seeds of 1-shot; other settings have the first alone")
    settings: list[str] = flag(["5-1", "5-5"], "few-shot settings of A, B and C: WAY-SHOT")
    episodes: Count = flag(500, "few-shot episodes")
    grid: list[str] = flag(
        ["1e-4:1e-5:20", "5e-4:2.5e-4:20", "5e-4:5e-4:20", "1e-3:5e-4:20", "1e-3:5e-4:100"],
        "rates to choose from: LEARNING_RATE:ENCODER_LEARNING_RATE:WARMUP_STEPS",
    )
    grid_steps: Count = flag(200, "optimiser steps at each of them")
    variants: list[str] = flag([], f"further arms, evaluated in 5-way 1-shot: {', '.join(list(ARMS)[2:])}")
    variant_types: list[str] = flag(["intra"], "splits on which they are evaluated")

    def __post_init__(self) -> None:
        if unknown := self.variants and set(self.variants) - ARMS.keys():
            raise UserError(f"--variants {min(unknown)}: no such arm; there are {', '.join(ARMS)}")


class Encoder(NamedTuple):
    """The encoder of an arm and a pre-training seed; A has none."""

    arm: str
    seed: int | None = None

    def __str__(self) -> str:
        return self.arm if self.seed is None else f"{self.arm}-{self.seed}"


@dataclass(frozen=True)
class Readout:
    """A way to evaluate encoders, with results in STUDY/FOLDER/TYPE/ENCODER-SEED/SETTING."""

    folder: str
    types: Sequence[str]
    settings: list[str]
    episodes: int
    method: str = "container"
    training: dict[str, Any] = field(default_factory=dict)  # further flags of source training


def jobs(study: Study) -> list[Job]:
    """The jobs of a study, those that matter most first; the later ones depend on the rates that the first led to."""
    pairs = [[Encoder(arm, seed) for arm in ("B", "C")] for seed in study.pretraining_seeds]
    encoders = [Encoder("A"), *(encoder for pair in pairs for encoder in pair)]
    variants = [Encoder(arm, seed) for seed in study.pretraining_seeds for arm in study.variants]
    few_nerd = Readout("few-nerd", TYPES, study.settings, study.episodes)
    looked_at = Readout("variants", study.variant_types, ["5-1"], study.episodes)
    # Is a gain lost in source training? The encoders as they are, on the episodes that serve choosing.
    untrained = Readout("untrained", TYPES[:1], ["5-1"], CHOSEN_ON, "nnshot", {"epochs": 0})
    graph = [*choosing(study), *(job for encoder in [*encoders[1:], *variants] for job in pretraining(study, encoder))]
    graph += [job for pair in pairs for job in perplexity(study, pair)]
    for seed in study.seeds:
        graph += [job for encoder in encoders for job in few_shot(study, few_nerd, encoder, seed)]
        graph += [job for encoder in variants for job in few_shot(study, looked_at, encoder, seed)]
    graph += [job for encoder in [*encoders, *variants] for job in few_shot(study, untrained, encoder, study.seeds[0])]
    return graph


def choosing(study: Study) -> Iterator[Job]:
    """The corpus, if it is to be made; short runs of B and C at each of the rates; the choice."""
    text = [Job("corpus", python("data.prepare", *study.texts, output=f"data/{study.data}.txt"))] if study.texts else []
    runs = [
        pretrain(study, "grid", f"{arm}-{rates.replace(':', '-')}", ARMS[arm], study.pretraining_seeds[0],
                 Rates.read(rates), study.grid_steps, tuple(job.name for job in text))
        for rates in study.grid
        for arm in ("B", "C")
    ]  # fmt: skip
    yield from (*text, *runs, Job("rates", python("study", "rates", study.directory), tuple(job.name for job in runs)))


def pretrain(
    study: Study, folder: str, name: str, arm: Arm, seed: int | None, rates: Rates, steps: int, needs: tuple[str, ...]
) -> Job:
    """A run of pretrain.py, in STUDY/FOLDER/NAME."""
    command = python(
        "pretrain.py", model=study.model, data=study.data, mixed_precision=study.mixed_precision, seed=seed,
        alpha=arm.alpha, beta=arm.beta, gamma=arm.gamma, **arm.flags, **rates._asdict(), max_steps=steps,
        eval_steps=200, save_steps=200, keep_last=1, output_dir=study.directory / folder, name=name,
    )  # fmt: skip
    return Job(f"{folder}-{name}", command, needs, minutes=0.5 + steps / 80)


def pretraining(study: Study, encoder: Encoder) -> Iterator[Job]:
    """An encoder continued and made plain; how far it has moved."""
    arm, steps = ARMS[encoder.arm], study.max_steps
    chosen = study.directory / "rates"
    rates = Rates.read(chosen.read_text() if chosen.exists() else study.grid[0])  # the latter is never run
    if arm.gentle:
        rates, steps = rates._replace(encoder_learning_rate=rates.encoder_learning_rate / 10), steps * 3 // 10
    yield pretrain(study, "pretrain", str(encoder), arm, encoder.seed, rates, steps, ("rates",))
    run, plain = study.directory / "pretrain" / str(encoder), path(study, encoder)
    convert = python("convert_checkpoint.py", checkpoint=run, output=plain)
    yield Job(f"convert-{encoder}", convert, (f"pretrain-{encoder}",))
    states = python("evaluations.states", study.model, plain, data=study.elsewhere)
    yield Job(f"states-{encoder}", states, (f"convert-{encoder}",))


def perplexity(study: Study, pair: list[Encoder]) -> Iterator[Job]:
    """Masked language modelling by A, B and C on sentences that the runs held out, and on sentences of another kind."""
    encoders = [study.model, *(path(study, encoder) for encoder in pair)]
    needs = tuple(f"convert-{encoder}" for encoder in pair)
    for name, text in {
        "held_out": {"held_out_by": study.directory / "pretrain" / str(pair[0])},
        "elsewhere": {"data": study.elsewhere},
    }.items():
        yield Job(f"perplexity-{name}-{pair[0].seed}", python("evaluations.perplexity", *encoders, **text), needs)


def few_shot(study: Study, readout: Readout, encoder: Encoder, seed: int) -> Iterator[Job]:
    """Source training on each of the splits, and from it the episodes of its settings."""
    name, needs = f"{encoder}-{seed}", () if encoder.arm == "A" else (f"convert-{encoder}",)
    for kind in readout.types:
        shared = {
            "type": kind, "method": readout.method, "name": name, "model": path(study, encoder), "seed": seed,
            "mixed_precision": study.mixed_precision, "data": study.few_nerd,
            "output": study.directory / readout.folder,
        }  # fmt: skip
        job = f"{readout.folder}-{name}-{kind}"
        yield Job(f"{job}-source", python("evaluations.few_shot.train", **shared, **readout.training), needs, 3)
        for setting in readout.settings:
            way, shot = setting.split("-")
            if shot == "1" or seed == study.seeds[0]:
                flags = {**shared, "way": way, "shot": shot, "episodes": readout.episodes}
                yield Job(f"{job}-{setting}", python("evaluations.few_shot.run", **flags), (f"{job}-source",), 3)


def path(study: Study, encoder: Encoder) -> str | Path:
    """Where an encoder lies."""
    return study.model if encoder.arm == "A" else study.directory / "encoders" / str(encoder)


def python(script: str, *arguments: Any, **flags: Any) -> tuple[str, ...]:
    """`python SCRIPT ARGUMENT ... --FLAG VALUE ...`; a script without .py is a module."""
    values = (*arguments, *(part for name, value in flags.items() for part in (f"--{name}", value)))
    texts = (f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return ("python", *(() if script.endswith(".py") else ("-m",)), script, *texts)
