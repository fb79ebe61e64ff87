"""Real tokens a second of a pre-training step: this recipe against its own plain form, in one run.

    python -m benchmarks.pretrain_throughput --model minilm --steps 20

The plain form is what the published code and the run_mlm pattern do: one sentence a row padded to the longest, two
encoder calls, the logits of every position, float32, torch's own attention and dropout, foreach AdamW, memory as the
system manages it. The two forms run in turn, each in a process of its own (so that peak memory is its own), on the same
sentences. The last line is one JSON object.
"""

import json
import multiprocessing
import resource
import statistics
import timeit
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import AutoConfig

from benchmarks.measuring import now
from common.errors import run
from common.flags import Count, flag, parse
from common.hardware import pick_device, pick_precision
from data.batches import Batches, batch_loader
from data.corpus import load_corpus
from encoders import IGNORED, load_tokenizer, packs
from model import SparseLTConfig, SparseLTForPreTraining
from model.losses import kl_loss, mean_type_probs, sparsity_loss
from training.optimisation import make_optimizer

FORMS = ("plain", "packed")
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WEIGHTS = {"mlm": 1.0, "reconstruction": 0.05, "sparsity": 0.05, "kl": 0.1}
TAU = 5.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    model: str = flag("minilm", "encoder")
    family: str | None = flag(
        None, "family of an encoder of base size with random weights instead: bert, roberta, modernbert, ..."
    )
    data: str = flag("lee_news", "corpus, as for pretrain.py")
    batch_size: Count = flag(32, "sentences a step")
    steps: Count = flag(20, "timed steps of each form")
    rounds: Count = flag(2, "turns that the forms take")
    forms: list[str] = flag(list(FORMS), "forms to measure", choices=FORMS)
    mixed_precision: str | None = flag(
        None, "precision of the packed form (default: float32 on a CPU, by hardware on a GPU)", choices=list(DTYPES)
    )
    compile: bool = flag(False, "whether to torch.compile the packed form")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")

    @property
    def precision(self) -> str:
        """Of the packed form."""
        device = pick_device(self.device)
        return self.mixed_precision or ("no" if device.type == "cpu" else pick_precision("auto", device))


def plain_losses(model: SparseLTForPreTraining, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The four losses, computed as the plain form does."""
    ids, mask = batch["input_ids"], batch["attention_mask"]  # (B, T)
    logits = model.plain(batch["masked_input_ids"], attention_mask=mask).logits  # (B, T, V)
    typing = model.type_tokens(ids, mask, TAU)
    states = model._decode(model.get_input_embeddings()(ids[:, :-1]), mask, typing.gated)  # (B, T - 1, D)
    rebuilt = model.reconstruction_logits(states)  # (B, T - 1, V)
    p = mean_type_probs(typing.type_probs, mask)  # (C,)
    targets = model.next_tokens(ids, mask).flatten()  # (B * (T - 1),)
    return {
        "mlm": F.cross_entropy(logits.flatten(0, 1), batch["mlm_labels"].flatten(), ignore_index=IGNORED),
        "reconstruction": F.cross_entropy(rebuilt.flatten(0, 1), targets, ignore_index=IGNORED),
        "sparsity": sparsity_loss(p),
        "kl": kl_loss(p, model.config.kl_form),
    }


def use_plain_parts(model: nn.Module) -> None:
    """Torch's own dropout and attention in place of those of encoders/cpu.py."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.__class__ = nn.Dropout
        elif hasattr(module, "config"):
            module.config._attn_implementation = "sdpa"  # pyright: ignore


def make_model(recipe: Recipe) -> SparseLTForPreTraining:
    if recipe.family:  # a configuration's defaults are the base size; weights do not matter for speed
        return SparseLTForPreTraining(SparseLTConfig(encoder=AutoConfig.for_model(recipe.family)))
    return SparseLTForPreTraining.from_encoder(recipe.model)


def measure(form: str, recipe: Recipe, steps: range) -> tuple[int, int, float, float]:
    """Run some steps of one form: its real tokens, places of the batches, seconds, peak memory in GiB."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    # Besides finding a device, pick_device sets up memory and kernels, which is part of the recipe.
    device = pick_device(recipe.device) if form == "packed" else torch.device(recipe.device)
    on_gpu = device.type == "cuda"
    tokenizer = load_tokenizer("minilm")  # bert-base-uncased's vocabulary
    corpus, _ = load_corpus(recipe.data, tokenizer, 128)
    model: Any = make_model(recipe).train()
    if form == "plain":
        use_plain_parts(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01, foreach=True)
    else:
        optimizer = make_optimizer(model, 1e-5, 1e-5, 0.01)
    accelerator = Accelerator(mixed_precision="no" if form == "plain" else recipe.precision, cpu=not on_gpu)
    model, optimizer = accelerator.prepare(model, optimizer)
    if recipe.compile and form == "packed":
        packs(model.encoder)  # tried before the model is traced
        model = torch.compile(model, dynamic=True, mode="reduce-overhead")
    warmup = 40 if on_gpu else 2  # until each shape of a batch has been seen
    packing = "none" if form == "plain" else "few_shapes" if on_gpu else "tight"
    batches = Batches(corpus, tokenizer, recipe.batch_size, 128, 0, packing=packing)
    tokens, places, started, tau = 0, 0, 0.0, torch.full((), TAU, device=device)
    for number, batch in enumerate(batch_loader(batches, steps.start - warmup, steps.stop, device, None), -warmup):
        if number >= 0:
            tokens += int((batch["attention_mask"] > 0).sum())
            places += batch["attention_mask"].numel()
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        losses = plain_losses(model, batch) if form == "plain" else model(**batch, tau=tau).losses
        accelerator.backward(sum(WEIGHTS[name] * loss for name, loss in losses.items()))
        accelerator.clip_grad_norm_(model.parameters(), 1.0)  # pyright: ignore[reportArgumentType]
        optimizer.step()
        optimizer.zero_grad()
        if number == -1:
            started = now()
    seconds = now() - started
    peak = torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return tokens, places, seconds, peak / 2**30


def measure_alone(form: str, recipe: Recipe, steps: range) -> tuple[int, int, float, float]:
    """The same in a process of its own, whose peak of memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, form, recipe, steps).result()


def useful_flops_per_token(model: SparseLTForPreTraining) -> float:
    """Forward and backward multiply-adds that a real token needs, times two; attention over ~30 tokens is left out."""

    def size(module: Any) -> int:
        return sum(p.numel() for p in module.parameters() if p.dim() == 2)

    words = model.get_input_embeddings().weight.numel()
    layers = size(model.encoder) - size(model.encoder.embeddings)
    mlm_head = size(model.plain) - size(model.encoder) + words
    return 6 * (2 * layers + size(model.decoder) + words + 0.15 * mlm_head)


def matmul_peak(device: torch.device, precision: str) -> float:
    """FLOP/s of a large matrix product in the precision that training uses, the best of ten."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=DTYPES[precision]) for _ in range(2))
    return 2 * n**3 / min(timeit.repeat(lambda: a @ b, timer=now, number=1, repeat=10))


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    device = pick_device(recipe.device)
    recipe = replace(recipe, device=str(device))
    runs: dict[str, list[tuple[int, int, float, float]]] = {form: [] for form in recipe.forms}
    per_round = -(-recipe.steps // recipe.rounds)
    for number in range(recipe.rounds):
        start = 100 + number * per_round
        for form in recipe.forms:
            runs[form].append(measure_alone(form, recipe, range(start, start + per_round)))
    peak = matmul_peak(device, recipe.precision)
    flops = useful_flops_per_token(make_model(recipe))

    print(f"{recipe.model}, {recipe.data}, batches of {recipe.batch_size}, {device}, torch {torch.__version__}")
    print(f"{'form':8}{'real tokens/s':>15}{'s/step':>9}{'padding':>9}{'peak GiB':>10}{'useful / matmul peak':>22}")
    summary: dict[str, float] = {}
    for form, rounds in runs.items():
        tokens, places, seconds, peaks = zip(*rounds, strict=True)
        rate, step = sum(tokens) / sum(seconds), sum(seconds) / (per_round * recipe.rounds)
        found = {"real_tokens_per_s": rate, "padding": 1 - sum(tokens) / sum(places), "peak_gib": max(peaks)}
        found["share_of_peak"] = rate * flops / peak
        print(f"{form:8}{rate:15.0f}{step:9.3f}{found['padding']:9.1%}", end="")
        print(f"{found['peak_gib']:10.2f}{found['share_of_peak']:22.1%}")
        if form == "packed":
            print(f"the paper's 100,000 steps at this rate: {step * 100_000 / 3600:.1f} hours")
        summary |= {name if form == "packed" else f"plain_{name}": value for name, value in found.items()}
    print(f"matrix product peak {peak / 1e9:.0f} GFLOP/s; {flops / 1e9:.3f} GFLOP of useful work a real token")
    if len(runs) == 2:  # the medians of the rounds' ratios: a round's two forms ran beside the same other work
        rates = ([tokens / seconds for tokens, _, seconds, _ in runs[form]] for form in FORMS)
        summary["speedup"] = statistics.median(packed / plain for plain, packed in zip(*rates, strict=True))
    print(json.dumps(summary))


if __name__ == "__main__":
    run(main)
