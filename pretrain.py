"""Continued pre-training of a BERT with sparse latent typing (Ren et al., EMNLP 2022).

    python pretrain.py --name bert_base_voa_sparseLT --alpha 0.05 --beta 0.05 --gamma 0.1

Every random number of a step is a function of the seed and the step, so a run that was interrupted and resumed
ends with the same weights as one that was not.
"""

import argparse
import re
import signal
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from filelock import FileLock, Timeout
from torch.utils.data import DataLoader
from tqdm import tqdm

from common.encoders import load_tokenizer
from common.errors import UserError, run
from data.batches import Batches
from data.corpus import hold_out, load_corpus
from model import SparseLTForPreTraining
from model.describe import describe
from training import checkpoints, preflight
from training.optimisation import make_optimizer, set_learning_rate, temperature
from training.records import MetricsLog, check_record, write_record
from training.report import write_curves, write_model_card
from training.validation import validate
from training.watch import CollapseWatch, FiniteWatch, StopSignal, ignore_stop_signals

# MiniLM's MLM head is new and its embeddings were tuned for sentence similarity: at the paper's rates, made for
# BERT-base, it hardly moves in a few thousand steps.
MINILM_RECIPE = {"learning_rate": 1e-3, "encoder_lr_scale": 0.5, "warmup_steps": 20}

TYPING_METRICS = ["reconstruction_loss", "sparsity_loss", "kl_loss", "share_typed", "type_perplexity"]


def parse_args(argv: list[str]) -> argparse.Namespace:
    """The flags; their defaults are the paper's recipe, or MiniLM's where `--model minilm` asks for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--name", required=True, help="of the run; results go to OUTPUT_DIR/NAME")
    add("--output_dir", type=Path, default=Path("checkpoints"), help="where runs lie")
    add("--model", default="bert-base-uncased", help="encoder: hub id, local directory, or `minilm`")
    add("--data", default="voa_corpus", help="NAME of data/NAME.txt, a text file, `lee_news`, `wiki_sample`, a hub id")
    add("--text_column", default="text", help="column of a hub data set that holds the sentences")
    add("--alpha", type=float, default=0.05, help="weight of the reconstruction loss")
    add("--beta", type=float, default=0.05, help="weight of the sparsity loss")
    add("--gamma", type=float, default=0.1, help="weight of the KL loss; all three 0: masked language modelling alone")
    add("--kl_form", choices=["exponential", "plain"], default="exponential", help="1 - exp(-KL), or the paper's KL")
    add("--temperature_decay", type=float, default=3e-5, help="share by which the typer's temperature falls each step")
    add("--num_types", type=int, default=64, help="latent types, `not typed` included")
    add("--max_steps", type=int, default=100_000, help="optimiser steps")
    add("--batch_size", type=int, default=32, help="sentences a step, over all processes")
    add("--gradient_accumulation_steps", type=int, default=1, help="batches a step")
    add("--max_length", type=int, default=128, help="tokens of a sentence; longer ones are cut")
    add("--learning_rate", type=float, default=1e-4, help="peak, of what is new (1e-3 for minilm)")
    add("--encoder_lr_scale", type=float, default=0.1, help="the encoder's rate relative to it (0.5 for minilm)")
    add("--warmup_steps", type=int, default=300, help="of the learning rate (20 for minilm)")
    add("--weight_decay", type=float, default=0.01, help="except for biases and LayerNorms")
    add("--max_grad_norm", type=float, default=1.0, help="the gradient is clipped to this norm")
    add("--seed", type=int, default=61820, help="of everything random")
    add("--mixed_precision", choices=["auto", "no", "bf16", "fp16"], default="auto", help="auto: by hardware")
    add("--device", choices=["auto", "cpu"], default="auto", help="cpu: leave GPUs alone")
    add("--compile", action="store_true", help="torch.compile the model (GPUs)")
    add("--num_workers", type=int, default=None, help="processes that prepare batches (default: 0 on CPU, 4 on GPU)")
    add("--logging_steps", type=int, default=10, help="a line in metrics.jsonl every so many steps")
    add("--eval_steps", type=int, default=1000, help="validate every so many steps")
    add("--save_steps", type=int, default=1000, help="checkpoint every so many steps")
    add("--keep_last", type=int, default=2, help="checkpoints to keep")
    add("--validation_fraction", type=float, default=0.02, help="of the sentences, held out")
    add("--eval_sentences", type=int, default=512, help="validate on at most so many of them")
    add("--resume", action="store_true", help="continue from the newest intact checkpoint of this name")
    if parser.parse_known_args(argv)[0].model == "minilm":
        parser.set_defaults(**MINILM_RECIPE)
    args = parser.parse_args(argv)

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", args.name):
        raise UserError(f"--name {args.name!r}: letters, digits, `.`, `_` and `-` only, a letter or digit first")
    positive = ["num_types", "max_steps", "batch_size", "gradient_accumulation_steps", "max_length", "logging_steps"]
    for flag in [*positive, "eval_steps", "save_steps", "keep_last", "eval_sentences"]:
        if getattr(args, flag) < 1:
            raise UserError(f"--{flag} must be at least 1")
    if not 0 <= args.temperature_decay < 1:
        raise UserError("--temperature_decay must be at least 0 and below 1")
    if not 0 < args.validation_fraction < 1:
        raise UserError("--validation_fraction must lie between 0 and 1")
    return args


def choose_precision(wanted: str, device: str) -> str:
    """`auto`: bf16 on GPUs and CPUs that multiply in it, fp16 with a loss scaler on older GPUs, float32 elsewhere.

    Raises:
        UserError: fp16 was asked for on a CPU, which has no loss scaler.
    """
    if wanted == "fp16" and (device == "cpu" or not torch.cuda.is_available()):
        raise UserError("--mixed_precision fp16 needs a GPU")
    if wanted != "auto":
        return wanted
    if device == "cpu" or not torch.cuda.is_available():
        able = torch.cpu.get_capabilities()
        return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "no"
    return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"


def seed_of(*numbers: int) -> int:
    """A well-mixed seed for torch from the run's seed and where in the run we are."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    run_directory = args.output_dir / args.name

    # --- hardware -------------------------------------------------------------------------------------------------
    precision = choose_precision(args.mixed_precision, args.device)
    torch.set_float32_matmul_precision("high")  # TF32 where there is any
    accelerator = Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        cpu=args.device == "cpu",
        step_scheduler_with_optimizer=False,
    )
    main_process = accelerator.is_main_process
    say = accelerator.print
    say(f"{accelerator.num_processes} process(es) on {accelerator.device.type}, mixed precision: {precision}")
    if args.batch_size % accelerator.num_processes:
        raise UserError(f"--batch_size {args.batch_size} cannot be shared by {accelerator.num_processes} processes")

    # --- one run per name -----------------------------------------------------------------------------------------
    if main_process:
        say(preflight.check_writable(run_directory))
        lock = FileLock(run_directory / ".lock")  # held until the process ends, however it ends
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"another run is writing to {run_directory}; choose another --name") from None
        checkpoints.remove_unfinished(run_directory)
    started = (run_directory / "run.json").exists() or bool(checkpoints.saved_steps(run_directory))
    if started and not args.resume:
        raise UserError(f"{run_directory} holds a run already; --resume continues it, or choose another --name")

    # --- data: lines -> ids ---------------------------------------------------------------------------------------
    tokenizer = load_tokenizer(args.model)
    with accelerator.main_process_first():
        corpus, corpus_sha256 = load_corpus(args.data, tokenizer, args.max_length, args.text_column)
    if len(corpus) < 2:
        raise UserError(f"{args.data} holds one sentence; it takes two, one of them held out")
    with accelerator.main_process_first():
        training, held_out = hold_out(corpus, args.validation_fraction, args.seed)
    say(f"{args.data}: {len(training):,} sentences to train on, {len(held_out):,} held out")
    held_out = held_out.select(range(min(args.eval_sentences, len(held_out))))

    # --- model and optimiser --------------------------------------------------------------------------------------
    torch.manual_seed(args.seed)
    transformers.logging.set_verbosity_error()  # that a BERT's pooler is unused and its MLM head new is no news here
    transformers.logging.disable_progress_bar()
    model = SparseLTForPreTraining.from_encoder(args.model, num_types=args.num_types, kl_form=args.kl_form)
    mlm_only = args.alpha == args.beta == args.gamma == 0
    if mlm_only:  # the typer and the decoder stay out of the gradient
        for part in (model.typer, model.decoder):
            part.requires_grad_(False)
        model.reconstruction_bias.requires_grad_(False)
    say(preflight.check_tokenizer(model, tokenizer, args.max_length))
    tokens = args.batch_size // accelerator.num_processes * min(args.max_length, 64)
    say(preflight.check_memory(model, tokens, accelerator.device))
    say(preflight.check_disk(run_directory, model, args.keep_last))
    plain_model = model
    optimizer = make_optimizer(model, args.learning_rate, args.encoder_lr_scale, args.weight_decay)
    model, optimizer = accelerator.prepare(model, optimizer)
    if args.compile:
        model.compile(dynamic=True)

    # --- a new run or a resumed one -------------------------------------------------------------------------------
    names = ["loss", "mlm_loss", *([] if mlm_only else TYPING_METRICS), "gradient_norm"]
    window = torch.zeros(len(names), dtype=torch.float64, device=accelerator.device)  # sums since the last log line
    start = done = skipped = 0  # skipped: fp16 steps whose gradient overflowed
    if started:
        check_record(run_directory, vars(args), corpus_sha256)
        if checkpoints.is_finished(run_directory):
            say(f"{run_directory} is finished; nothing to do")
            return
        with accelerator.main_process_first():
            checkpoint = checkpoints.newest_intact(run_directory, warn=say)
        if checkpoint is not None:
            state = checkpoints.load_step(checkpoint, plain_model, optimizer)
            start, skipped = state["step"], state["skipped"]
            done = start
            window = window.new_tensor(state["window"])
            if accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(state["scaler"])
        say(f"resuming after step {start}")
    elif main_process:
        write_record(run_directory, vars(args), corpus_sha256)
    if main_process:
        log = MetricsLog(run_directory, resumed_after=start)

    # --- loop -----------------------------------------------------------------------------------------------------
    rank, world_size = accelerator.process_index, accelerator.num_processes
    batches = Batches(training, tokenizer, args.batch_size, args.max_length, args.seed, rank, world_size)
    accumulation = args.gradient_accumulation_steps
    on_gpu = accelerator.device.type == "cuda"
    loader = iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=range(start * accumulation, args.max_steps * accumulation),
            num_workers=args.num_workers if args.num_workers is not None else (4 if on_gpu else 0),
            worker_init_fn=ignore_stop_signals,
            pin_memory=on_gpu,
        )
    )

    def corpus_lines(step: int) -> list[int]:
        numbers = range(step * accumulation, (step + 1) * accumulation)
        return [line for number in numbers for line in training[batches.rows_of(number)]["line"]]

    def validation(step: int) -> None:
        figures = validate(plain_model, tokenizer, held_out, args.batch_size, args.max_length, accelerator, mlm_only)
        say(f"step {step}, held out: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        if main_process:
            log.write(step, {"validation": figures})

    finite_watch, collapse_watch = FiniteWatch(names, accelerator.device), CollapseWatch()
    logged = start - start % args.logging_steps
    stopping = False
    last = start == args.max_steps  # killed between its last checkpoint and the final model
    stop = StopSignal()
    progress = tqdm(total=args.max_steps, initial=start, desc=args.name, unit="step", disable=not main_process)
    if start == 0:
        validation(0)
    model.train()
    for step in range(start, args.max_steps):
        learning_rate = set_learning_rate(optimizer, step, args.warmup_steps, args.max_steps)
        tau = temperature(step, args.temperature_decay)
        figures = torch.zeros_like(window)
        for number in range(step * accumulation, (step + 1) * accumulation):
            batch = {key: tensor.to(accelerator.device, non_blocking=True) for key, tensor in next(loader).items()}
            if mlm_only:
                del batch["input_ids"]
            torch.manual_seed(seed_of(args.seed, number, rank))  # Gumbel noise and dropout
            with accelerator.accumulate(model):
                output = model(**batch, tau=torch.full((), tau, device=accelerator.device))
                parts = [output[name] for name in names[1:-1]]
                if mlm_only:
                    loss = output.mlm_loss
                else:
                    loss = (
                        output.mlm_loss
                        + args.alpha * output.reconstruction_loss
                        + args.beta * output.sparsity_loss
                        + args.gamma * output.kl_loss
                    )
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    figures[-1] = accelerator.clip_grad_norm_(model.parameters(), args.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
            figures[:-1] += torch.stack([loss, *parts]).detach() / accumulation
        if accelerator.scaler is not None:  # it leaves out a step whose gradient overflows, and scales the loss down
            overflowed = ~figures[-1].isfinite()  # the fused AdamW hides this from `optimizer.step_was_skipped`
            skipped += overflowed
            figures[-1].masked_fill_(overflowed, 0)
        window += figures
        done = step + 1
        last = done == args.max_steps
        finite_watch.look(step, figures)
        progress.update()
        # A signal reaches each process at its own time; where there are several they agree at log lines.
        logging = last or done % args.logging_steps == 0
        if world_size == 1:
            stopping = stop.number > 0
        elif logging:
            stopping = accelerator.reduce(torch.tensor(stop.number, device=accelerator.device)).item() > 0

        if logging:
            finite_watch.check(run_directory, corpus_lines)
            means = dict(zip(names, (window / (done - logged)).tolist(), strict=True))
            window.zero_()
            logged = done
            progress.set_postfix({name: f"{value:.3g}" for name, value in means.items() if "loss" in name})
            if main_process:
                overflows = {} if accelerator.scaler is None else {"skipped_steps": int(skipped)}
                log.write(done, means | {"tau": tau, "learning_rate": learning_rate} | overflows)
            if not mlm_only and (problem := collapse_watch.look(means["share_typed"], means["type_perplexity"])):
                say(f"warning: step {done}: {problem}")
        if last or done % args.eval_steps == 0:
            validation(done)
        if last or stopping or done % args.save_steps == 0:
            finite_watch.check(run_directory, corpus_lines)
            if main_process:
                log.sync()
                scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
                state = {"window": window.tolist(), "scaler": scaler, "skipped": int(skipped)}
                checkpoints.save_step(run_directory, done, plain_model, tokenizer, optimizer, state, args.keep_last)
        if stopping and not last:
            break
    progress.close()
    stop.restore()

    # --- the end --------------------------------------------------------------------------------------------------
    if skipped:
        say(f"{int(skipped)} steps were left out because their fp16 gradients overflowed")
    if main_process:
        with checkpoints.clear_disk_errors(run_directory):
            log.close()
            write_curves(run_directory)
            if last:
                write_model_card(run_directory)
                checkpoints.save_final(run_directory, plain_model, tokenizer)
    if not last:
        say(f"stopped after step {done}; the same command with --resume goes on from there")
        sys.exit(128 + (stop.number or signal.SIGTERM))
    if main_process:
        say(f"\nThe model is in {run_directory}\n")
        if not mlm_only:
            sentences = [tokenizer.decode(ids, skip_special_tokens=True) for ids in held_out[:2]["input_ids"]]
            for description in describe(plain_model.eval(), tokenizer, sentences, args.max_length):
                say(description)
        say(f"Next, a plain BERT of it: python convert_checkpoint.py --checkpoint {run_directory}")
    accelerator.end_training()


if __name__ == "__main__":
    run(main)
