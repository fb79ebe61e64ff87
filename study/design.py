"""The design: arms that differ in one thing, and the jobs that make and evaluate their encoders.

    A  the encoder as it is
    B  A, continued with masked language modelling alone: B - A is what the text brings
    C  A, continued with sparse latent typing:            C - B is what the method brings

An arm has an encoder for each pre-training seed, named `C-61820`; with one seed, all arms see the same sentences in the
same order with the same masking. Each encoder is evaluated with several few-shot seeds, all on the same episodes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError
from common.flags import Count, Seed, argument, flag
from evaluations.few_shot.data import TYPES
from study.jobs import Job

CHOSEN_ON = 100  # INTRA's first episodes serve choosing, the others reporting
RATES = ("learning_rate", "encoder_learning_rate", "warmup_steps")

# Flags of pretrain.py. The temperature falls over the whole run as far as the paper's, 5 * (1 - 3e-5)^step.
MLM_ALONE: dict[str, Any] = {"alpha": 0, "beta": 0, "gamma": 0}
TYPING: dict[str, Any] = {"alpha": 0.05, "beta": 0.05, "gamma": 0.1, "temperature_share": 1}
GENTLE = TYPING | {"temperature_end": 4.9108}
ARMS = {"B": MLM_ALONE, "C": TYPING | {"temperature_end": 4.7088}}
VARIANTS = {  # all with a tenth of the encoder's rate and three tenths of the steps
    "B_gentle": MLM_ALONE,
    "C_gentle": GENTLE,
    "C_alpha0.5": GENTLE | {"alpha": 0.5},
    "C_beta0.2": GENTLE | {"beta": 0.2},
    "C_sparsity": GENTLE | {"alpha": 0, "beta": 0.2, "gamma": 0},
    "C_kl_plain": GENTLE | {"kl_form": "plain"},
    "C_annealed": GENTLE | {"temperature_end": 0.5},
}


@dataclass(frozen=True, kw_only=True)
class Study:
    """The parameters of a study."""

    command: str = argument("what to do", "COMMAND", choices=("run", "report", "rates"))
    directory: Path = argument("directory of the study", "STUDY")
    model: str = flag("minilm", "encoder: hub id, local directory, or `minilm`")
    data: str = flag("news", "corpus to continue on, as for pretrain.py")
    texts: list[str] = flag([], "raw texts of which data/DATA.txt is made first")
    elsewhere: str = flag("wiki_sample", "corpus of another kind, for the perplexity and the states")
    few_nerd: Path = flag(Path("evaluations/ner/CONTaiNER/data/few-nerd"), "directory of the few-shot data")
    mixed_precision: Literal["no", "bf16"] = flag("no", "precision")
    max_steps: Count = flag(2000, "optimiser steps of B and C")
    pretraining_seeds: list[Seed] = flag([61820], "seeds of pre-training")
    seeds: list[Seed] = flag([0, 1, 2], "few-shot seeds of 1-shot; other settings have the first alone")
    settings: list[str] = flag(["5-1", "5-5"], "few-shot settings of A, B and C: WAY-SHOT")
    episodes: Count = flag(500, "few-shot episodes")
    grid: list[str] = flag(
        ["1e-4:1e-5:20", "5e-4:2.5e-4:20", "5e-4:5e-4:20", "1e-3:5e-4:20", "1e-3:5e-4:100"],
        "rates to choose from: LEARNING_RATE:ENCODER_LEARNING_RATE:WARMUP_STEPS",
    )
    grid_steps: Count = flag(200, "optimiser steps at each of them")
    variants: list[str] = flag([], "further arms, evaluated in 5-way 1-shot", choices=tuple(VARIANTS))
    variant_types: list[str] = flag(["intra"], "splits on which they are evaluated", choices=TYPES)


def read_rates(text: str) -> dict[str, float]:
    """Of `1e-3:5e-4:100`: the learning rates at their peak, and the steps over which they rise.

    Raises:
        UserError: it is something else.
    """
    try:
        return dict(zip(RATES, map(float, text.split(":")), strict=True))
    except ValueError:
        raise UserError(f"{text.strip()}: rates look like 1e-3:5e-4:100") from None


def jobs(study: Study) -> Iterator[Job]:
    """The jobs of a study, those that matter most first; the later ones depend on the rates that the first led to."""
    place = study.directory
    encoders = [f"{arm}-{seed}" for seed in study.pretraining_seeds for arm in ARMS]
    variants = [f"{arm}-{seed}" for seed in study.pretraining_seeds for arm in study.variants]
    paths = {"A": study.model} | {encoder: place / "encoders" / encoder for encoder in (*encoders, *variants)}

    def pretrain(folder: str, name: str, seed: int | str, flags: dict[str, Any], steps: int, *needs: str) -> Job:
        shared = {"model": study.model, "data": study.data, "mixed_precision": study.mixed_precision, "seed": seed}
        kept = {"eval_steps": 200, "save_steps": 200, "keep_last": 1, "output_dir": place / folder, "name": name}
        return Job(f"{folder}-{name}", python("pretrain.py", **shared, **flags, max_steps=steps, **kept), needs)

    def few_shot(
        folder: str, encoder: str, seed: int, types: Sequence[str], settings: Sequence[str], episodes: int,
        method: str = "container", **training: Any,
    ) -> Iterator[Job]:  # fmt: skip
        """Source training on each split, and then its settings' episodes, in STUDY/FOLDER/TYPE/ENCODER-SEED/SETTING."""
        name = f"{encoder}-{seed}"
        for kind in types:
            flags = {
                "type": kind, "method": method, "name": name, "model": paths[encoder], "seed": seed,
                "mixed_precision": study.mixed_precision, "data": study.few_nerd, "output": place / folder,
            } | training  # fmt: skip
            job, needs = f"{folder}-{name}-{kind}", () if encoder == "A" else (f"convert-{encoder}",)
            yield Job(f"{job}-source", python("evaluations.few_shot.train", **flags), needs)
            for setting in settings:
                way, shot = setting.split("-")
                command = python("evaluations.few_shot.run", **flags, way=way, shot=shot, episodes=episodes)
                yield Job(f"{job}-{setting}", command, (f"{job}-source",))

    # The corpus, if it is to be made; short runs of B and C at each of the rates; the choice.
    corpus = ["corpus"] if study.texts else []
    if study.texts:
        yield Job("corpus", python("data.prepare", *study.texts, output=f"data/{study.data}.txt"))
    grid = [
        pretrain("grid", f"{arm}-{rates.replace(':', '-')}", study.pretraining_seeds[0],
                 {**flags, **read_rates(rates)}, study.grid_steps, *corpus)
        for rates in study.grid
        for arm, flags in ARMS.items()
    ]  # fmt: skip
    yield from grid
    yield Job("rates", python("study", "rates", place), tuple(job.name for job in grid))

    # Encoders, continued and made plain; how far they have moved.
    chosen = place / "rates"
    for encoder in (*encoders, *variants):
        arm, seed = encoder.split("-")
        rates = read_rates(chosen.read_text() if chosen.exists() else study.grid[0])  # the latter is never run
        steps = study.max_steps
        if arm in VARIANTS:
            rates["encoder_learning_rate"] /= 10
            steps = steps * 3 // 10
        yield pretrain("pretrain", encoder, seed, {**(ARMS | VARIANTS)[arm], **rates}, steps, "rates")
        convert = python("convert_checkpoint.py", checkpoint=place / "pretrain" / encoder, output=paths[encoder])
        yield Job(f"convert-{encoder}", convert, (f"pretrain-{encoder}",))
        states = python("evaluations.states", study.model, paths[encoder], data=study.elsewhere)
        yield Job(f"states-{encoder}", states, (f"convert-{encoder}",))

    # Masked language modelling by A, B and C on sentences that the runs held out, and on sentences of another kind.
    for seed in study.pretraining_seeds:
        for name, text in {
            "held_out": {"held_out_by": place / "pretrain" / f"B-{seed}"},
            "elsewhere": {"data": study.elsewhere},
        }.items():
            command = python("evaluations.perplexity", study.model, paths[f"B-{seed}"], paths[f"C-{seed}"], **text)
            yield Job(f"perplexity-{name}-{seed}", command, (f"convert-B-{seed}", f"convert-C-{seed}"))

    # Few-shot NER.
    for seed in study.seeds:
        settings = [setting for setting in study.settings if setting.endswith("-1") or seed == study.seeds[0]]
        for encoder in ("A", *encoders):
            yield from few_shot("few-nerd", encoder, seed, TYPES, settings, study.episodes)
        for encoder in variants:
            yield from few_shot("variants", encoder, seed, study.variant_types, ["5-1"], study.episodes)
    # Is a gain lost in source training? The encoders as they are, on the episodes that serve choosing.
    for encoder in paths:
        untrained = {"method": "nnshot", "epochs": 0}
        yield from few_shot("untrained", encoder, study.seeds[0], TYPES[:1], ["5-1"], CHOSEN_ON, **untrained)


def python(script: str, *arguments: Any, **flags: Any) -> tuple[str, ...]:
    """`python SCRIPT ARGUMENT ... --FLAG VALUE ...`; a script without .py is a module."""
    values = (*arguments, *(part for name, value in flags.items() for part in (f"--{name}", value)))
    texts = (f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return ("python", *(() if script.endswith(".py") else ("-m",)), script, *texts)
