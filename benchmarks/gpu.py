"""What must hold on a GPU and how fast it is there, in one table: all that a CPU cannot tell.

    python -m benchmarks.gpu                        # one card, 8 minutes at most; writes benchmarks/gpu.md
    python -m benchmarks.gpu --device cpu --small   # whether this script works: a tiny encoder, 3 minutes

Exactness, resumption, episodes and extraction with MiniLM; throughput at the size of BERT-base with random weights, on
which speed does not depend. A part that fails is a row as well, and the status is then 1.
"""

import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from benchmarks import pretrain_throughput as throughput
from benchmarks.measuring import measure
from common.errors import UserError, first_line, run
from common.files import ROOT, environment
from common.flags import flag, parse
from common.hardware import pick_device
from data.batches import Batches
from data.bundled import bundled_corpus
from data.corpus import load_corpus
from encoders import load_tokenizer
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.data import Entity, Event, Relation, Sentence, write_sentences
from evaluations.supervised_ie.predict import extract
from evaluations.supervised_ie.scores import OVERALL
from model import SparseLTForPreTraining
from model.checkpoints import read_safetensors
from runs import read_metrics, read_summary
from runs.directory import FINISHED

TYPES = {"train": ("art-music", "person-actor"), "test": tuple(f"type-{letter}" for letter in "abcdefghij")}
STEPS = 12  # of a run that is resumed, with a checkpoint in the middle
# Attention that saves memory adds up its gradients in any order, and says no more than a warning.
DETERMINISTIC = (
    "import torch; torch.use_deterministic_algorithms(True, warn_only=True); "
    "torch.backends.cuda.enable_mem_efficient_sdp(False); "
)

Rows = Iterator[tuple[str, str]]  # what, result


@dataclass(frozen=True, kw_only=True)
class Recipe:
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")
    small: bool = flag(False, "whether to use a tiny encoder everywhere, and few steps")
    parts: list[str] = flag(
        ["exactness", "resumption", "pretraining", "few_shot", "extraction"], "what to do", metavar="PART"
    )
    output: Path | None = flag(None, "file for the table (default: benchmarks/gpu.md, of all parts on a GPU)")


def write_tiny(directory: Path) -> str:
    """A BERT of three layers, 64 wide, with random weights and MiniLM's tokenizer."""
    torch.manual_seed(0)
    config = BertConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=2, intermediate_size=128)
    BertForMaskedLM(config).save_pretrained(directory)
    load_tokenizer("minilm").save_pretrained(directory)
    return str(directory)


def call(*script: str, **flags: Any) -> None:
    """Run a script of Python with flags.

    Raises:
        UserError: it fails; in the last line, its last words.
    """
    given = (part for name, value in flags.items() for part in (f"--{name}", value))
    measure(*script, *given, CUBLAS_WORKSPACE_CONFIG=":4096:8", OMP_NUM_THREADS=1)


def packed_against_padded(encoder: str, device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """How far sentences packed into rows are from the same ones, one a row, without anything random.

    Returns:
        the largest difference of a loss, in nats; the norm of the gradients' difference over the gradient's.
    """
    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(0)
    tokenizer = load_tokenizer(encoder)
    corpus, _ = load_corpus("lee_news", tokenizer, 64)
    model: nn.Module = SparseLTForPreTraining.from_encoder(encoder).to(device).eval()  # pyright: ignore[reportArgumentType]
    losses, gradients = [], []
    for packing in ("tight", "none"):
        batch = Batches(corpus, tokenizer, 16, 64, seed=0, packing=packing)[0]
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            found = model(**{name: tensor.to(device) for name, tensor in batch.items()}).losses
            losses.append(torch.stack([*found.values()]))
            losses[-1].sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        model.zero_grad()
    (one, other), (ours, theirs) = losses, gradients
    return (one - other).abs().max().item(), ((ours - theirs).norm() / theirs.norm()).item()


def exactness(recipe: Recipe, encoder: str, folder: Path) -> Rows:
    for dtype in (torch.float32, torch.bfloat16):
        loss, gradient = packed_against_padded(encoder, pick_device(recipe.device), dtype)
        yield (
            f"packed against padded, {str(dtype)[6:]}",
            f"losses {loss:.1e} nats apart, gradient {gradient:.1e} (relative)",
        )


def resumed_against_whole(encoder: str, device: str, folder: Path, deterministic: bool, **flags: Any) -> float:
    """The largest difference of a weight between a run of `STEPS` steps and one resumed in the middle; 0: bit-exact."""
    start = ["-c", DETERMINISTIC + "import pretrain; pretrain.run(pretrain.main)"] if deterministic else ["pretrain.py"]
    steps = {"max_steps": STEPS, "save_steps": STEPS // 2, "logging_steps": 1, "warmup_steps": 2, "batch_size": 8}
    given = {"model": encoder, "device": device, "data": "lee_news", "output_dir": folder, "eval_sentences": 8}
    flags = steps | given | flags
    whole, resumed = folder / "whole", folder / "resumed"
    call(*start, **flags, name="whole")
    shutil.copytree(whole, resumed, ignore=shutil.ignore_patterns(f"step-{STEPS}", FINISHED))
    call(*start, **flags, name="resumed")
    one, other = (read_safetensors(run / "model.safetensors") for run in (whole, resumed))
    return max((one[name] - other[name]).abs().max().item() for name in one)


def resumption(recipe: Recipe, encoder: str, folder: Path) -> Rows:
    on_gpu = pick_device(recipe.device).type == "cuda"
    kinds = [(False, "no"), (True, "bf16"), *[(True, "fp16")] * on_gpu]

    def compare(kind: tuple[bool, str]) -> float:
        deterministic, precision = kind
        place = folder / precision
        return resumed_against_whole(encoder, recipe.device, place, deterministic, mixed_precision=precision)

    with ThreadPoolExecutor() as together:
        for (deterministic, precision), difference in zip(kinds, together.map(compare, kinds), strict=True):
            result = "bit-exact" if difference == 0 else f"weights differ by {difference:.1e} at most"
            if precision == "fp16":
                skipped = read_metrics(folder / precision / "whole")[-2]["skipped_steps"]
                result += f"; {skipped} steps skipped by the scaler"
            kernels = "deterministic kernels" if deterministic else "default kernels"
            yield f"resumed after {STEPS // 2} of {STEPS} steps, {precision}, {kernels}", result
            shutil.rmtree(folder / precision)


def pretraining(recipe: Recipe, encoder: str, folder: Path) -> Rows:
    """In bf16 with batches of three sizes; on a GPU also in fp16 with the loss scaler, and compiled."""
    sizes, steps = ((4, 8, 16), 2) if recipe.small else ((32, 128, 512), 40)
    device = pick_device(recipe.device)
    asked: dict[str, Any] = {"model": encoder} if recipe.small else {"family": "bert"}
    asked |= {"device": recipe.device, "mixed_precision": "bf16"}
    flops = throughput.useful_flops_per_token(throughput.make_model(throughput.Recipe(**asked)))
    peak = throughput.matmul_peak(device, "bf16")
    yield "peak of a matrix product, bf16", f"{peak / 1e12:.2f} TFLOP/s"
    options: list[dict[str, Any]] = [{"batch_size": size} for size in sizes]
    if device.type == "cuda":
        options += [{"batch_size": sizes[1], "mixed_precision": "fp16"}]
        options += [{"batch_size": sizes[0], "compile": True}]  # where launching kernels takes most of the time
    for changed in options:
        of_run = throughput.Recipe(**asked | changed)
        tokens, _, seconds, peak_gib = throughput.measure_alone("packed", of_run, range(100, 100 + steps))
        rate, hours = tokens / seconds, seconds / steps * 100_000 / 3600
        yield (
            f"pre-training, {of_run.batch_size} sentences, {of_run.mixed_precision}" + ", --compile" * of_run.compile,
            f"{rate:,.0f} real tokens/s, peak {peak_gib:.1f} GiB, {rate * flops / peak:.1%} of the matrix peak, "
            f"100,000 steps in {hours:.1f} h",
        )


def sentences_of_news(number: int) -> list[list[str]]:
    """So many sentences of 10 to 30 words."""
    words = bundled_corpus("lee_news").read_text().split()
    draw = random.Random(0)
    starts = [draw.randrange(len(words) - 30) for _ in range(number)]
    return [words[start : start + draw.randint(10, 30)] for start in starts]


def write_few_nerd(directory: Path, episodes: int) -> Path:
    """Made-up source sentences and episodes, 5-way 1-shot and 10-way 5-shot, laid out like Few-NERD."""
    for part in ("intra", "episode-data/intra"):
        (directory / part).mkdir(parents=True)
    for part, types in TYPES.items():
        (directory / f"intra/labels_{part}.txt").write_text("\n".join(["O", *types]))
    news = iter(sentences_of_news(64 + episodes * 110))

    def labelled(types: Sequence[str]) -> dict[str, list[list[str]]]:
        """A sentence a type, of which two words have it."""
        words = [next(news) for _ in types]
        labels = [["O"] * len(sentence) for sentence in words]
        for i, kind in enumerate(types):
            labels[i][i % 8 : i % 8 + 2] = [kind, kind]
        return {"word": words, "label": labels}

    source = labelled(TYPES["train"] * 32)
    lines = ["".join(map("{}\t{}\n".format, *sentence)) for sentence in zip(*source.values(), strict=True)]
    (directory / "intra/train.txt").write_text("\n".join(lines))
    for way, shot in ((5, 1), (10, 5)):
        types = TYPES["test"][:way]
        with open(directory / f"episode-data/intra/test_{way}_{shot}.jsonl", "w") as file:
            for _ in range(episodes):
                parts = {part: labelled(types * shot) for part in ("support", "query")}
                file.write(json.dumps(parts | {"types": types}) + "\n")
    return directory


def few_shot(recipe: Recipe, encoder: str, folder: Path) -> Rows:
    episodes, several = (2, 2) if recipe.small else (16, 4)
    given = {"model": encoder, "device": recipe.device, "episodes": episodes}
    flags = {"type": "intra", "data": write_few_nerd(folder / "data", episodes), "output": folder, **given}
    call("-m", "evaluations.few_shot.train", **flags, name=1)
    shutil.copytree(folder / "intra/1", folder / f"intra/{several}")
    for way, shot in ((5, 1), (10, 5)):
        for processes in (1, several):
            setting = {"way": way, "shot": shot, "processes": processes, "name": processes}
            call("-m", "evaluations.few_shot.run", **flags, **setting)
            summary = read_summary(folder / f"intra/{processes}/{way}-{shot}")
            seconds = summary["seconds"] / processes  # of episodes alone, while all processes are at it
            yield (
                f"few-shot, {way}-way {shot}-shot, {processes} processes",
                f"{episodes / seconds:.2f} episodes/s, {summary['steps'] / seconds:.1f} fine-tuning steps/s",
            )


def extraction(recipe: Recipe, encoder: str, folder: Path) -> Rows:
    """Two capitals or numbers meet, and are told apart by their first letters: enough to be learnt in a few epochs."""
    made = []
    for number, words in enumerate(sentences_of_news(60 if recipe.small else 600)):
        entities = [Entity(i, i + 1, "AM" if w[0] < "N" else "NZ") for i, w in enumerate(words) if w[0].isupper()][:4]
        relations = [Relation("NEAR", 0, 1)] if len(entities) > 1 else []
        events = [Event(i, i + 1, "SAY", ((0, "BY"),)) for i, w in enumerate(words) if entities and w == "said"][:1]
        made.append(Sentence(f"d{number // 10}", f"s{number}", words, entities, relations, events))
    write_sentences(folder / "train.oneie.jsonl", made[: len(made) // 4])
    write_sentences(folder / "dev.oneie.jsonl", made[:20])
    flags = {"model": encoder, "data": folder, "name": folder / "run", "device": recipe.device, "max_epochs": 3}
    flags |= {"warmup_epochs": 1, "learning_rate": 1e-3, "encoder_learning_rate": 1e-4, "mixed_precision": "bf16"}
    call("-m", "evaluations.supervised_ie.train", **flags)
    epoch, _ = checkpoint.read_best(folder / "run")[OVERALL]
    model, tokenizer = checkpoint.load_model(folder / "run", epoch)
    model.to(pick_device(recipe.device))
    extract(model, tokenizer, made)  # to warm up
    started = time.perf_counter()
    extract(model, tokenizer, made)
    rate = len(made) / (time.perf_counter() - started)
    yield "extraction, bf16, in batches of 1,024 word pieces", f"{rate:,.0f} sentences/s"


FAILED = "failed: "
PARTS = {part.__name__: part for part in (exactness, resumption, pretraining, few_shot, extraction)}


def rows_of(part: str, recipe: Recipe, encoder: str, folder: Path) -> Rows:
    """Those of a part; if it fails the last says so, for the other parts are worth having all the same."""
    folder.mkdir()
    try:
        yield from PARTS[part](recipe, encoder, folder)
    except UserError as error:
        yield part, FAILED + str(error).splitlines()[-1]
    except Exception as error:
        yield part, FAILED + first_line(error)


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    if unknown := set(recipe.parts) - PARTS.keys():
        raise UserError(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    device, parts = pick_device(recipe.device), dict.fromkeys(recipe.parts)
    whole = device.type == "cuda" and not recipe.small and parts.keys() == PARTS.keys()
    output = recipe.output or (ROOT / "benchmarks/gpu.md" if whole else None)
    if output and not output.parent.is_dir():
        raise UserError(f"--output {output}: there is no directory {output.parent}")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    versions = environment()
    where = f"{name}, torch {versions['torch']}, {time.strftime('%d %B %Y')}, commit {versions['commit']}"
    lines = [where + ", --small" * recipe.small, "", "| what | result | s |", "|---|---|---:|"]
    print("\n".join(lines), flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as work:
        encoder = write_tiny(Path(work) / "tiny") if recipe.small else "minilm"
        for part in parts:
            started = time.perf_counter()
            for what, result in rows_of(part, recipe, encoder, Path(work) / part):
                lines.append(f"| {what} | {result} | {time.perf_counter() - started:.0f} |")
                print(lines[-1], flush=True)
                failed |= result.startswith(FAILED)
                started = time.perf_counter()
    if output:
        output.write_text("\n".join(lines) + "\n")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
