"""Real tokens a second of a pre-training step: this recipe against its own plain form, in one run.

    python benchmarks/pretrain_throughput.py [--model minilm | bert-base] [--steps 20]

The plain form is what the published code and the run_mlm pattern do: one sentence a row padded to the longest, two
encoder calls, the logits of every position, float32, torch's own attention and dropout, foreach AdamW. The two
forms run in turn, each in a process of its own (so that peak memory is its own), on the same sentences. The last
line is one JSON object.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig

from common.device import add_device
from common.encoders import load_tokenizer
from data.batches import Batches
from data.corpus import load_corpus
from model import SparseLTConfig, SparseLTForPreTraining
from model.losses import IGNORED, kl_loss, mean_type_probs, sparsity_loss
from pretrain import choose_precision
from training.optimisation import make_optimizer

FORMS = ("plain", "packed")


def plain_losses(model: SparseLTForPreTraining, batch: dict[str, Tensor], tau: float) -> Tensor:
    """The weighted total, computed as the plain form does."""
    ids, mask = batch["input_ids"], batch["attention_mask"]  # (B, T)
    logits = model.mlm_logits(model.encode(batch["masked_input_ids"], mask))  # (B, T, V)
    mlm = F.cross_entropy(logits.flatten(0, 1).float(), batch["mlm_labels"].flatten(), ignore_index=IGNORED)
    typing = model.type_tokens(ids, mask, tau)
    embedded = model.get_input_embeddings()(ids[:, :-1])
    logits = model.reconstruction_logits(model._decode(embedded, mask, typing.gated))  # (B, T - 1, V)
    labels = model.next_tokens(ids, mask).flatten()
    reconstruction = F.cross_entropy(logits.flatten(0, 1).float(), labels, ignore_index=IGNORED)
    p = mean_type_probs(typing.type_probs, mask)
    return mlm + 0.05 * reconstruction + 0.05 * sparsity_loss(p) + 0.1 * kl_loss(p, model.config.kl_form)


def use_plain_parts(model: SparseLTForPreTraining) -> None:
    """Torch's own dropout and attention instead of common/cpu.py's."""
    for config in (model.config.encoder, *(layer.attention.self.config for layer in model.decoder.layers)):
        config._attn_implementation = "sdpa"
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                setattr(parent, name, nn.Dropout(child.p))


def packed_losses(model: nn.Module, batch: dict[str, Tensor], tau: Tensor) -> Tensor:
    """The weighted total as pretrain.py computes it."""
    output = model(**batch, tau=tau)
    return output.mlm_loss + 0.05 * output.reconstruction_loss + 0.05 * output.sparsity_loss + 0.1 * output.kl_loss


def make_model(name: str) -> SparseLTForPreTraining:
    if name == "bert-base":  # its size; random, since speed does not depend on the weights
        return SparseLTForPreTraining(SparseLTConfig(encoder=BertConfig()))
    return SparseLTForPreTraining.from_encoder(name)


def measure(form: str, args: argparse.Namespace, steps: range, results: multiprocessing.Queue) -> None:
    """Run some steps of one form; puts tokens, seconds, padding share and peak memory."""
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    device = torch.device(args.device)
    precision = "no" if form == "plain" else args.mixed_precision
    autocast = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    tokenizer = load_tokenizer("minilm")  # bert-base-uncased's vocabulary
    corpus, _ = load_corpus(args.data, tokenizer, 128)
    model = make_model(args.model).to(device).train()
    batches = Batches(corpus, tokenizer, args.batch_size, 128, seed=0, packed=form == "packed")
    if form == "plain":
        use_plain_parts(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01, foreach=True)
    else:
        optimizer = make_optimizer(model, 1e-5, 1.0, 0.01)
        if args.compile:
            model.compile(dynamic=True)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    warmup = 10 if device.type == "cuda" else 2
    loader = iter(
        torch.utils.data.DataLoader(
            batches,
            batch_size=None,
            sampler=range(steps.start - warmup, steps.stop),
            num_workers=4 if device.type == "cuda" else 0,
            pin_memory=device.type == "cuda",
        )
    )
    tokens = places = 0
    for number in range(-warmup, len(steps)):
        if number == 0:
            if device.type == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
        batch = next(loader)
        if number >= 0:
            tokens += int((batch["attention_mask"] > 0).sum())
            places += batch["attention_mask"].numel()
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            if form == "plain":
                loss = plain_losses(model, batch, 5.0)
            else:
                loss = packed_losses(model, batch, torch.full((), 5.0, device=device))
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.perf_counter() - started
    results.put({"tokens": tokens, "seconds": seconds, "padding": 1 - tokens / places, "peak_gib": peak})


def useful_flops_per_token(model: SparseLTForPreTraining) -> float:
    """Forward and backward multiply-adds that a real token needs, times two; attention over ~30 tokens is left out."""
    weights = {name: p.numel() for name, p in model.named_parameters() if p.dim() == 2}
    encoder = sum(size for name, size in weights.items() if name.startswith("encoder.encoder"))
    decoder = sum(size for name, size in weights.items() if name.startswith("decoder."))
    words = model.get_input_embeddings().weight.numel()
    mlm_head = weights["mlm_transform.dense.weight"] + words
    return 6 * (2 * encoder + decoder + words + 0.15 * mlm_head)


def matmul_peak(device: str, threads: int, precision: str) -> float:
    """FLOP/s of a large matrix product in the precision that training uses, the best of ten."""
    if threads:
        torch.set_num_threads(threads)
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    n = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help="`minilm`, `bert-base` (random weights), or any encoder")
    parser.add_argument("--data", default="lee_news", help="corpus, as for pretrain.py")
    parser.add_argument("--batch_size", type=int, default=32, help="sentences a step")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each form")
    parser.add_argument("--rounds", type=int, default=2, help="the forms take turns this often")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    add_device(parser)
    parser.add_argument("--compile", action="store_true", help="torch.compile the packed form")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS, help="measure only these")
    parser.add_argument(
        "--mixed_precision",
        choices=["no", "bf16", "fp16"],
        help="of this recipe (default: float32 on a CPU, auto on a GPU)",
    )
    args = parser.parse_args()
    if args.mixed_precision is None:
        args.mixed_precision = "no" if args.device == "cpu" else choose_precision("auto", args.device)

    processes = multiprocessing.get_context("spawn")
    per_round = -(-args.steps // args.rounds)
    runs: dict[str, list[dict]] = {form: [] for form in args.forms}
    for number in range(args.rounds):
        for form in args.forms:
            results = processes.Queue()
            steps = range(100 + number * per_round, 100 + (number + 1) * per_round)
            process = processes.Process(target=measure, args=(form, args, steps, results))
            process.start()
            runs[form].append(results.get())
            process.join()
    peak = matmul_peak(args.device, args.threads, args.mixed_precision)
    flops = useful_flops_per_token(make_model(args.model))

    print(f"{args.model}, {args.data}, batches of {args.batch_size}, {args.device}, torch {torch.__version__}")
    print(f"{'form':8}{'real tokens/s':>15}{'s/step':>9}{'padding':>9}{'peak GiB':>10}{'useful / matmul peak':>22}")
    speed = {}
    for form, rounds in runs.items():
        speed[form] = sum(r["tokens"] for r in rounds) / sum(r["seconds"] for r in rounds)
        seconds = sum(r["seconds"] for r in rounds) / (per_round * args.rounds)
        print(
            f"{form:8}{speed[form]:15.0f}{seconds:9.3f}{statistics.mean(r['padding'] for r in rounds):9.1%}"
            f"{max(r['peak_gib'] for r in rounds):10.2f}{speed[form] * flops / peak:22.1%}"
        )
        if form == "packed":
            print(f"the paper's 100,000 steps at this rate: {seconds * 100_000 / 3600:.1f} hours")
    print(f"matrix product peak {peak / 1e9:.0f} GFLOP/s; {flops / 1e9:.3f} GFLOP of useful work a real token")
    ours = runs.get("packed", [])
    rates = {form: [r["tokens"] / r["seconds"] for r in rounds] for form, rounds in runs.items()}
    pairs = [b / a for a, b in zip(rates.get("plain", []), rates.get("packed", []), strict=False)]
    print(
        json.dumps(
            {
                "speedup": statistics.median(pairs) if pairs else None,
                "real_tokens_per_s": speed.get("packed"),
                "plain_real_tokens_per_s": speed.get("plain"),
                "padding": statistics.mean(r["padding"] for r in ours) if ours else None,
                "peak_gib": max(r["peak_gib"] for r in ours) if ours else None,
                "share_of_peak": speed["packed"] * flops / peak if ours else None,
            }
        )
    )


if __name__ == "__main__":
    main()
