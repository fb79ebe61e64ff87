"""The recipe of pre-training: pretrain.py's flags, whose defaults are the paper's."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from common.errors import UserError
from common.flags import Count, CountOrZero, LearningRate, Length, Positive, Seed, Share, Weight, flag, parse
from common.hub import check_repository

# For short runs on two cores: MiniLM's MLM head is new and its embeddings were tuned for sentence similarity, so that
# the heads learn before the encoder does, and the encoder moves little.
MINILM = {
    "learning_rate": 2e-3,
    "encoder_learning_rate": 1e-5,
    "warmup_steps": 200,
    "lr_schedule": "wsd",
    "frozen_steps": 300,
    "sparsity_ramp": 0.5,
    "sampled_words": 1000,
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a pre-training run is made with."""

    name: str = flag(help="name of the run; its results go to OUTPUT_DIR/NAME")
    output_dir: Path = flag(Path("checkpoints"), "directory of all runs")
    model: str = flag(
        "bert-base-uncased", "encoder: hub id, local directory, or `minilm`; or the directory of a run to start from"
    )
    data: str = flag("voa_corpus", "corpus: NAME of data/NAME.txt, a file, `lee_news`, `wiki_sample`, or a hub id")
    text_column: str = flag("text", "column with the sentences in JSON, CSV, parquet and hub data sets")
    long_lines: Literal["cut", "split"] = flag("cut", "longer lines: cut, or split into several sentences")
    alpha: Weight = flag(0.05, "weight of the reconstruction loss")
    beta: Weight = flag(0.05, "weight of the sparsity loss")
    gamma: Weight = flag(0.1, "weight of the KL loss; all three 0: masked language modelling alone")
    kl_form: Literal["exponential", "plain"] = flag("exponential", "1 - exp(-KL), or the paper's KL")
    gate: Literal["typed", "open"] = flag("typed", "open: the decoder reads the encoder's states, as if without typer")
    detached: list[str] = flag([], "what does not train the encoder", choices=("reconstruction", "types"))
    temperature_start: Positive = flag(5.0, "temperature of the typer's Gumbel-softmax at first")
    temperature_end: Positive = flag(0.5, "temperature to which it falls")
    temperature_share: Share = flag(0.7675, "share of the run over which it falls")
    sampled_words: CountOrZero = flag(
        0, "random words over which the reconstruction loss is estimated, besides the batch's; 0: the whole vocabulary"
    )
    sparsity_ramp: Share = flag(0.0, "share of the run over which the sparsity loss' weight rises from 0")
    num_types: Count = flag(64, "latent types, `not typed` included")
    max_steps: Count = flag(100_000, "optimiser steps")
    batch_size: Count = flag(32, "sentences a step, over all processes")
    gradient_accumulation_steps: Count = flag(1, "batches a step")
    mlm_probability: Share = flag(0.15, "share of the tokens that are selected for masked language modelling")
    max_length: Length = flag(128, "longest sentence in tokens")
    learning_rate: LearningRate = flag(1e-4, "peak rate of what is new (2e-3 for minilm)")
    encoder_learning_rate: LearningRate = flag(1e-5, "peak rate of the encoder")
    warmup_steps: CountOrZero = flag(300, "steps over which the rates rise (200 for minilm)")
    lr_schedule: Literal["linear", "wsd"] = flag(
        "linear", "warm-up and linear decay, or warm-up, stable, decay (for minilm)"
    )
    frozen_steps: CountOrZero = flag(0, "first steps, in which the encoder is frozen and only what is new learns")
    weight_decay: Weight = flag(0.01, "AdamW's decay, except of biases and LayerNorms")
    max_grad_norm: Positive = flag(1.0, "norm to which the gradient is clipped")
    seed: Seed = flag(61820, "seed of everything random")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = flag("auto", "precision; auto: by hardware")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")
    compile: bool = flag(False, "whether to torch.compile the model (GPUs)")
    num_workers: CountOrZero | None = flag(None, "processes that prepare batches (default: 0 on CPU, 4 on GPU)")
    report_to: str = flag("tensorboard", "trackers, separated by commas: tensorboard, wandb, trackio, mlflow; or none")
    logging_steps: Count = flag(10, "steps between lines in metrics.jsonl")
    eval_steps: Count = flag(1000, "steps between validations")
    save_steps: Count = flag(1000, "steps between checkpoints")
    keep_last: Count = flag(2, "checkpoints to keep")
    validation_fraction: Share = flag(0.02, "share of the sentences that is held out")
    eval_sentences: Count = flag(512, "largest number of held-out sentences to validate on")
    push_to_hub: str | None = flag(
        None, "hub repository to upload the finished model to, private if it is new; nothing is uploaded without it"
    )
    resume: bool = flag(True, "whether to go on with the run that the directory holds; --no_resume refuses it")
    restart: bool = flag(False, "whether to begin anew, and keep the run that the directory holds in before-N/ in it")

    # A resumed run may change what does not touch the numbers it computes, or is recorded by what it resolves to.
    FREE: ClassVar = frozenset({
        "name", "output_dir", "model", "data", "text_column", "long_lines", "mixed_precision", "device", "compile",
        "num_workers", "report_to", "save_steps", "keep_last", "push_to_hub", "resume", "restart",
    })  # fmt: skip

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise UserError(f"--name {self.name!r}: letters, digits, `.`, `_` and `-` only, a letter or digit first")
        for name in ("validation_fraction", "mlm_probability"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: must lie between 0 and 1")
        if self.temperature_share == 0:
            raise UserError("--temperature_share 0.0: must be above 0")
        check_repository(self.push_to_hub)

    @property
    def mlm_only(self) -> bool:
        """Whether this is masked language modelling alone, without typer and decoder."""
        return self.alpha == self.beta == self.gamma == 0

    @property
    def directory(self) -> Path:
        return self.output_dir / self.name


def read_recipe(argv: list[str], description: str | None = None) -> Recipe:
    """The recipe of a command line; `--model minilm` has defaults of its own."""
    return parse(Recipe, argv, description, lambda given: MINILM if given.model == "minilm" else {})
