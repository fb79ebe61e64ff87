"""The design, as PLAN.md lays it down: arms that differ in one thing, and the jobs that make and evaluate them.

An encoder is an arm's from one pre-training seed, named `C-61820`. With one seed all arms start from the same stage 0
and see the same sentences in the same order with the same masking.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError
from common.flags import Count, LearningRate, Seed, argument, flag
from evaluations.few_shot.data import TYPES
from evaluations.few_shot.methods import METHODS
from study.jobs import Job

CHOSEN_ON = 100  # INTRA's first episodes serve choosing, the others reporting
WEIGHTS = "model.safetensors"
GATE = {"reconstruction_accuracy": 0.4, "share_typed": 0.4}  # what a stage 0 must reach on held-out sentences

# Flags of pretrain.py. `ARMS` have an encoder's rate chosen for each; the variants take C's.
ARMS: dict[str, dict[str, Any]] = {
    "B": {"alpha": 0, "beta": 0, "gamma": 0},
    "U": {"gate": "open", "beta": 0, "gamma": 0},
    "C": {},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "C_types": {"detached": "reconstruction"},
    "C_reconstruction": {"detached": "types"},
    "C_neither": {"detached": ["reconstruction", "types"]},
}
DOSE = ("B", "C")  # the arms that are also trained for long, and read by what costs most
# The few-shot methods, the encoders and the splits that each reads.
READOUTS = {
    "container": (("A", *ARMS, *VARIANTS), TYPES),
    "readout": (("A", *ARMS), TYPES),
    "proml": (("A", *DOSE), TYPES[:1]),
}
# The typer is trained: its temperature stays where it is. The samples of the softmax are as in stage 0.
TRAINED = {"temperature_start": 0.5, "temperature_end": 0.5, "lr_schedule": "wsd", "sampled_words": 1000}
EXTRACTION = {"encoder_learning_rate": 1e-4, "learning_rate": 1e-3}  # those that MiniLM was measured with


@dataclass(frozen=True, kw_only=True)
class Study:
    command: str = argument("what to do", "COMMAND", choices=("run", "dose", "report", "gate", "rates"))
    directory: Path = argument("directory of the study", "STUDY")
    model: str = flag("minilm", "encoder: hub id, local directory, or `minilm`")
    data: str = flag("news", "corpus to continue on, as for pretrain.py")
    texts: list[str] = flag([], "raw texts of which data/DATA.txt is made first")
    few_nerd: Path = flag(Path("evaluations/ner/CONTaiNER/data/few-nerd"), "directory of the few-shot data")
    extraction: list[Path] = flag([], "directories of annotated sentences for supervised extraction by A, B and C")
    extraction_epochs: list[Count] = flag([15, 4], "epochs of training on each of them, conll04 and m2e2")
    mixed_precision: Literal["no", "bf16"] = flag("no", "precision")
    batch_size: Count = flag(32, "sentences a step")
    stage0_steps: Count = flag(2000, "steps with the encoder frozen")
    max_steps: Count = flag(600, "steps after them")
    learning_rate: LearningRate = flag(1e-3, "rate of the heads after them")
    rates: list[LearningRate] = flag([1e-5, 3e-5, 1e-4], "rates of the encoder to choose from, for each arm")
    choosing_seed: Seed = flag(61819, "seed of pre-training of the runs that serve choosing rates")
    pretraining_seeds: list[Seed] = flag(
        [61820, 61821, 61822, 61823, 61824, 61825], "seeds of pre-training that count; fewer make a part of the study"
    )
    seeds: list[Seed] = flag([0], "few-shot seeds")
    episodes: Count = flag(500, "few-shot episodes")
    dose: list[Count] = flag([2000, 5000, 10000], "steps at which one long run each of B and C is read")
    dose_seed: Seed = flag(61826, "seed of pre-training of these")


def jobs(study: Study) -> Iterator[Job]:
    """The jobs of a study: those that choose the rates, then seed by seed all that a seed is for, so that a part
    of them can be reported; or those of the dose, once the rates are chosen.

    Raises:
        UserError: the seed that serves choosing is among those that count; the extraction's directories and epochs
            are not as many; the dose is asked for without rates.
    """
    place, chosen = study.directory, study.directory / "rates"
    if study.choosing_seed in study.pretraining_seeds:
        raise UserError(f"--choosing_seed {study.choosing_seed} must not be among --pretraining_seeds, which count")
    if study.extraction and len(study.extraction) != len(study.extraction_epochs):
        raise UserError("--extraction_epochs must have a number for each directory of --extraction")
    if study.command == "dose" and not chosen.exists():
        raise UserError(f"{chosen} does not exist; the dose is trained at the rates that `run` chooses")
    rates = dict(line.split() for line in chosen.read_text().splitlines()) if chosen.exists() else {}
    shared: dict[str, Any] = {
        "data": study.data, "mixed_precision": study.mixed_precision, "batch_size": study.batch_size,
        "eval_steps": 200, "report_to": "none",
    }  # fmt: skip

    def encoder_of(name: str) -> tuple[str | Path, tuple[str, ...]]:
        """Where a plain encoder lies, and what it needs."""
        return (study.model, ()) if name == "A" else (place / "encoders" / name, (f"convert-{name}",))

    def stage0(seed: int) -> Iterator[Job]:
        """The frozen encoder's part, in STUDY/stage0/SEED, and whether it is good enough."""
        steps = {"max_steps": study.stage0_steps, "frozen_steps": study.stage0_steps}
        recipe = {"learning_rate": 2e-3, "warmup_steps": min(200, study.stage0_steps), "sparsity_ramp": 0.5}
        recipe |= {"lr_schedule": "wsd", "sampled_words": 1000, "output_dir": place / "stage0", "name": seed}
        command = python("pretrain.py", model=study.model, **shared, **steps, **recipe, seed=seed, keep_last=1)
        needs = ("corpus",) if study.texts else ()
        yield Job(f"stage0-{seed}", command, needs, place / "stage0" / str(seed) / WEIGHTS)
        yield Job(f"gate-{seed}", python("study", "gate", place, pretraining_seeds=seed), (f"stage0-{seed}",))

    def continued(name: str, arm: str, rate: float, seed: int, steps: int, *needs: str, **flags: Any) -> Iterator[Job]:
        """Stage 1 of an arm, in STUDY/pretrain/NAME, and the plain encoder of it, in STUDY/encoders/NAME."""
        flags = TRAINED | (ARMS | VARIANTS)[arm] | {
            "learning_rate": study.learning_rate, "encoder_learning_rate": rate, "warmup_steps": 20, "seed": seed,
            "max_steps": steps, "save_steps": steps, "keep_last": 1,
        } | flags  # fmt: skip
        model, runs = place / "stage0" / str(seed), place / "pretrain"
        command = python("pretrain.py", model=model, **shared, **flags, output_dir=runs, name=name)
        needs = (f"stage0-{seed}", f"gate-{seed}", *needs)
        yield Job(f"pretrain-{name}", command, needs, runs / name / WEIGHTS)
        yield converted(name, runs / name, f"pretrain-{name}")

    def converted(name: str, checkpoint: Path, *needs: str) -> Job:
        output = place / "encoders" / name
        command = python("convert_checkpoint.py", checkpoint=checkpoint, output=output)
        return Job(f"convert-{name}", command, needs, output / WEIGHTS)

    def few_shot(
        folder: str, encoder: str, seed: int, types: tuple[str, ...], episodes: int, method: str
    ) -> Iterator[Job]:
        """Source training on each split, and then its episodes, in STUDY/FOLDER/TYPE/ENCODER-SEED/SETTING."""
        name, (model, needs) = f"{encoder}-{seed}", encoder_of(encoder)
        for kind in types:
            flags = {
                "type": kind, "method": method, "name": name, "seed": seed, "data": study.few_nerd, "model": model,
                "mixed_precision": study.mixed_precision, "output": place / folder,
            }  # fmt: skip
            job = f"{folder}-{method}-{name}-{kind}"
            weights = place / folder / kind / name / "source" / METHODS[method].SOURCE / WEIGHTS
            yield Job(f"{job}-source", python("evaluations.few_shot.train", **flags), needs, weights)
            command = python("evaluations.few_shot.run", **flags, way=5, shot=1, episodes=episodes)
            yield Job(job, command, (f"{job}-source",))

    def read(arm: str, encoder: str) -> Iterator[Job]:
        """All that is counted of an encoder but extraction."""
        for method, (arms, types) in READOUTS.items():
            for seed in study.seeds if arm in arms else ():
                yield from few_shot("few-nerd", encoder, seed, types, study.episodes, method)

    def extraction(encoder: str) -> Iterator[Job]:
        for corpus, epochs in zip(study.extraction, study.extraction_epochs, strict=False):
            name, run = f"extraction-{corpus.name}-{encoder}", place / "extraction" / corpus.name / encoder
            model, needs = encoder_of(encoder)
            flags = EXTRACTION | {"mixed_precision": study.mixed_precision, "max_epochs": epochs}
            flags |= {"warmup_epochs": -(-epochs // 8), "model": model, "data": corpus, "name": run}
            command = python("evaluations.supervised_ie.train", **flags)
            yield Job(name, command, needs)
            command = python("evaluations.supervised_ie.evaluate", name=run, data=corpus)
            yield Job(f"{name}-scores", command, (name,))

    def dose() -> Iterator[Job]:
        """A run of `max_steps` and a long one of each arm, from a stage 0 of their own, and what CONTaiNER reads."""
        yield from stage0(study.dose_seed)
        between, last, seed = math.gcd(*study.dose), max(study.dose), study.dose_seed
        for arm in DOSE:
            short, long, rate = f"{arm}_{study.max_steps}-{seed}", f"{arm}_long-{seed}", float(rates[arm])
            kept = {"save_steps": between, "keep_last": last // between}
            yield from continued(short, arm, rate, seed, study.max_steps)
            yield next(continued(long, arm, rate, seed, last, **kept))
            encoders = [f"{arm}_{step}-{seed}" for step in study.dose]
            for encoder, step in zip(encoders, study.dose, strict=True):
                yield converted(encoder, place / "pretrain" / long / f"step-{step}", f"pretrain-{long}")
            for encoder in (short, *encoders):
                yield from few_shot("dose", encoder, study.seeds[0], TYPES, study.episodes, "container")

    if study.texts:
        corpus = Path("data", f"{study.data}.txt")
        yield Job("corpus", python("data.prepare", *study.texts, output=corpus), (), corpus)
    if study.command == "dose":
        yield from dose()
        return

    # The encoder's rate of each arm, by F1 on the episodes that serve choosing.
    yield from stage0(study.choosing_seed)
    tried = []
    for arm, rate in product(ARMS, study.rates):
        name = f"{arm}-{rate:g}".replace("e-", "e")  # a name has its parts between dashes
        yield from continued(name, arm, rate, study.choosing_seed, study.max_steps)
        chosen_by = list(few_shot("choosing", name, study.seeds[0], TYPES[:1], CHOSEN_ON, "container"))
        yield from chosen_by
        tried.append(chosen_by[-1].name)
    yield Job("rates", python("study", "rates", place, rates=study.rates), tuple(tried), chosen)

    # The encoder as it is, then each seed's arms.
    yield from read("A", "A")
    for seed in study.pretraining_seeds:
        yield from stage0(seed)
        for arm in (*ARMS, *VARIANTS):
            rate = float(rates.get(arm[0], study.rates[0]))  # the latter is not run: the job waits for the rates
            yield from continued(f"{arm}-{seed}", arm, rate, seed, study.max_steps, "rates")
        for arm in (*ARMS, *VARIANTS):
            yield from read(arm, f"{arm}-{seed}")
        for arm in DOSE:
            yield from extraction(f"{arm}-{seed}")
    yield from extraction("A")


def python(script: str, *arguments: Any, **flags: Any) -> tuple[str, ...]:
    """`python SCRIPT ARGUMENT ... --FLAG VALUE ...`; a script without .py is a module."""
    values = [*arguments]
    for name, value in flags.items():
        values += [f"--{name}", *(value if isinstance(value, list) else [value])]
    texts = (f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return ("python", *(() if script.endswith(".py") else ("-m",)), script, *texts)
