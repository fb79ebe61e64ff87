"""Real tokens a second of a pre-training step: this recipe against its own plain form, in one run.

    python -m benchmarks.pretrain_throughput --model minilm --steps 20

The plain form is what the published code and the run_mlm pattern do: one sentence a row padded to the longest, two
encoder calls, the logits of every position, float32, torch's own attention and dropout, foreach AdamW. The two
forms run in turn, each in a process of its own (so that peak memory is its own), on the same sentences. The last
line is one JSON object.
"""

import json
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig

from common.errors import run
from common.flags import Count, CountOrZero, flag, parse
from common.hardware import pick_device, pick_precision
from data.batches import Batches
from data.corpus import load_corpus
from encoders import IGNORED, load_tokenizer
from model import SparseLTConfig, SparseLTForPreTraining
from model.losses import kl_loss, mean_type_probs, sparsity_loss
from training.optimisation import make_optimizer

FORMS = ("plain", "packed")
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WEIGHTS = {"mlm": 1.0, "reconstruction": 0.05, "sparsity": 0.05, "kl": 0.1}
TAU = 5.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    model: str = flag("minilm", "encoder; `bert-base` is one of its size with random weights")
    data: str = flag("lee_news", "corpus, as for pretrain.py")
    batch_size: Count = flag(32, "sentences a step")
    steps: Count = flag(20, "timed steps of each form")
    rounds: Count = flag(2, "turns that the forms take")
    forms: list[str] = flag(list(FORMS), "forms to measure", choices=FORMS)
    mixed_precision: str | None = flag(
        None, "precision of the packed form (default: float32 on a CPU, by hardware on a GPU)", choices=list(DTYPES)
    )
    compile: bool = flag(False, "whether to torch.compile the packed form")
    threads: CountOrZero = flag(0, "CPU threads; 0: torch's choice")
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
    return {
        "mlm": F.cross_entropy(logits.flatten(0, 1), batch["mlm_labels"].flatten(), ignore_index=IGNORED),
        "reconstruction": F.cross_entropy(
            rebuilt.flatten(0, 1), model.next_tokens(ids, mask).flatten(), ignore_index=IGNORED
        ),
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


def make_model(name: str) -> SparseLTForPreTraining:
    if name == "bert-base":  # speed does not depend on the weights
        return SparseLTForPreTraining(SparseLTConfig(encoder=BertConfig()))
    return SparseLTForPreTraining.from_encoder(name)


def measure(form: str, recipe: Recipe, steps: range) -> tuple[int, float, float, float]:
    """Run some steps of one form.

    Returns:
        real tokens, seconds, share of padding in 0..1, peak memory in GiB.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    device = pick_device(recipe.device)
    on_gpu = device.type == "cuda"
    precision = "no" if form == "plain" else recipe.precision
    tokenizer = load_tokenizer("minilm")  # bert-base-uncased's vocabulary
    corpus, _ = load_corpus(recipe.data, tokenizer, 128)
    batches = Batches(corpus, tokenizer, recipe.batch_size, 128, seed=0, packed=form == "packed")
    model = make_model(recipe.model).to(device).train()  # pyright: ignore[reportArgumentType]
    if form == "plain":
        use_plain_parts(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01, foreach=True)
    else:
        optimizer = make_optimizer(model, 1e-5, 1e-5, 0.01)
        if recipe.compile:
            model.compile(dynamic=True)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    warmup = 10 if on_gpu else 2
    loader = torch.utils.data.DataLoader(
        batches,
        batch_size=None,
        sampler=range(steps.start - warmup, steps.stop),
        num_workers=4 if on_gpu else 0,
        pin_memory=on_gpu,
    )
    tokens, places, started, tau = 0, 0, 0.0, torch.full((), TAU, device=device)
    for number, batch in enumerate(loader, -warmup):
        if number >= 0:
            tokens += int((batch["attention_mask"] > 0).sum())
            places += batch["attention_mask"].numel()
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        with torch.autocast(device.type, DTYPES[precision], enabled=precision != "no"):
            losses = plain_losses(model, batch) if form == "plain" else model(**batch, tau=tau).losses
            loss = torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if number == -1:
            started = now(device)
    seconds = now(device) - started
    peak = torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return tokens, seconds, 1 - tokens / places, peak / 2**30


def now(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def useful_flops_per_token(model: SparseLTForPreTraining) -> float:
    """Forward and backward multiply-adds that a real token needs, times two; attention over ~30 tokens is left out."""

    def size(module: Any) -> int:
        return sum(p.numel() for p in module.parameters() if p.dim() == 2)

    words = model.get_input_embeddings().weight.numel()
    layers = size(model.encoder) - size(model.encoder.embeddings)
    mlm_head = size(model.plain) - size(model.encoder) + words
    return 6 * (2 * layers + size(model.decoder) + words + 0.15 * mlm_head)


def matmul_peak(device: torch.device, threads: int, precision: str) -> float:
    """FLOP/s of a large matrix product in the precision that training uses, the best of ten."""
    if threads:
        torch.set_num_threads(threads)
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=DTYPES[precision]) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        started = now(device)
        _ = a @ b
        best = min(best, now(device) - started)
    return 2 * n**3 / best


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    device = pick_device(recipe.device)
    runs: dict[str, list[tuple[int, float, float, float]]] = {form: [] for form in recipe.forms}
    per_round = -(-recipe.steps // recipe.rounds)
    for number in range(recipe.rounds):
        for form in recipe.forms:
            steps = range(100 + number * per_round, 100 + (number + 1) * per_round)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                runs[form].append(process.submit(measure, form, recipe, steps).result())
    peak = matmul_peak(device, recipe.threads, recipe.precision)
    flops = useful_flops_per_token(make_model(recipe.model))

    print(f"{recipe.model}, {recipe.data}, batches of {recipe.batch_size}, {device}, torch {torch.__version__}")
    print(f"{'form':8}{'real tokens/s':>15}{'s/step':>9}{'padding':>9}{'peak GiB':>10}{'useful / matmul peak':>22}")
    summary: dict[str, float] = {}
    for form, rounds in runs.items():
        tokens, seconds, paddings, peaks = zip(*rounds, strict=True)
        rate, padding, peak_gib = sum(tokens) / sum(seconds), statistics.mean(paddings), max(peaks)
        step = sum(seconds) / (per_round * recipe.rounds)
        share = rate * flops / peak
        print(f"{form:8}{rate:15.0f}{step:9.3f}{padding:9.1%}{peak_gib:10.2f}{share:22.1%}")
        found = {"real_tokens_per_s": rate, "padding": padding, "peak_gib": peak_gib, "share_of_peak": share}
        if form == "packed":
            print(f"the paper's 100,000 steps at this rate: {step * 100_000 / 3600:.1f} hours")
            summary |= found
        else:
            summary |= {f"{form}_{name}": value for name, value in found.items()}
    print(f"matrix product peak {peak / 1e9:.0f} GFLOP/s; {flops / 1e9:.3f} GFLOP of useful work a real token")
    if len(runs) == 2:  # the medians of the rounds' ratios: a round's two forms ran beside the same other work
        rates = ([tokens / seconds for tokens, seconds, *_ in runs[form]] for form in FORMS)
        summary["speedup"] = statistics.median(packed / plain for plain, packed in zip(*rates, strict=True))
    print(json.dumps(summary))


if __name__ == "__main__":
    run(main)
