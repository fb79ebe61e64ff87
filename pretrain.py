"""Continued pre-training of a BERT with sparse latent typing (Ren et al., EMNLP 2022).

    python pretrain.py --name bert_base_voa_sparseLT --alpha 0.05 --beta 0.05 --gamma 0.1

The same command again goes on where the run was stopped. Every random number of a step is a function of the seed and
the step, so a run that was interrupted ends with the same weights as one that was not.
"""

import signal
import sys

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin, broadcast_object_list
from datasets import Dataset
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from common.errors import UserError, run
from common.hardware import pick_device, pick_precision, trim_heap
from common.seeds import seed_of
from data.batches import Batches, batch_loader
from data.corpus import hold_out, load_corpus
from encoders import check_tokenizer, fingerprint, load_tokenizer, packs, tokenizer_fingerprint
from model import SparseLTForPreTraining, is_autoencoder, start_from, tokenizer_of
from model.describe import describe
from runs import RunDirectory, deaths
from training import checkpoints
from training.cards import conversion_of, push_run, write_model_card
from training.log import RunLog, pick_trackers
from training.meter import Meter
from training.optimisation import make_optimizer, set_learning_rate
from training.preflight import check_disk, memory_warning
from training.recipe import Recipe, read_recipe
from training.report import write_curves
from training.schedules import ramp, temperature
from training.validation import validate
from training.watch import CollapseWatch, DeadTypeWatch, StopSignal


def make_accelerator(recipe: Recipe) -> Accelerator:
    """The hardware of a run, in its precision, and its trackers; a `UserError` where it lacks them."""
    device = pick_device(recipe.device)
    torch.set_float32_matmul_precision("high")  # TF32 where there is any
    accelerator = Accelerator(
        mixed_precision=pick_precision(recipe.mixed_precision, device),
        gradient_accumulation_plugin=GradientAccumulationPlugin(recipe.gradient_accumulation_steps),
        cpu=device.type == "cpu",
        step_scheduler_with_optimizer=False,
        log_with=pick_trackers(recipe.report_to) or None,  # pyright: ignore[reportArgumentType]
        project_dir=recipe.directory / "tensorboard",
    )
    if recipe.batch_size % accelerator.num_processes:
        raise UserError(f"--batch_size {recipe.batch_size} cannot be shared by {accelerator.num_processes} processes")
    return accelerator


def load_sentences(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator
) -> tuple[Dataset, Dataset, str]:
    """The sentences to train on, those held out, and what identifies the corpus; a `UserError` where there are none."""
    with accelerator.main_process_first():
        corpus, summary = load_corpus(recipe.data, tokenizer, recipe.max_length, recipe.text_column, recipe.long_lines)
        if len(corpus) < 2:
            raise UserError(f"{recipe.data} holds one sentence; two are required, one of them held out")
        training, held_out = hold_out(corpus, recipe.validation_fraction, recipe.seed)
    accelerator.print(f"{recipe.data}: {len(training):,} sentences to train on, {len(held_out):,} held out; {summary}")
    if summary.warning:
        accelerator.print(f"warning: {summary.warning}")
    return training, held_out.select(range(min(recipe.eval_sentences, len(held_out)))), summary.identity


def make_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> SparseLTForPreTraining:
    """The autoencoder that the recipe starts from; what it does not train is frozen."""
    torch.manual_seed(recipe.seed)
    config = {"kl_form": recipe.kl_form, "gate": recipe.gate, "detached": recipe.detached}
    model = start_from(recipe.model, recipe.num_types, **config)
    check_tokenizer(model.config.encoder, tokenizer, recipe.max_length)
    if recipe.mlm_only:
        for part in (model.typer, model.decoder, model.reconstruction_bias):
            part.requires_grad_(False)
    return model


def finish(
    run_directory: RunDirectory,
    recipe: Recipe,
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    held_out: Dataset,
) -> None:
    """Write the final model and its card; print what it makes of two held-out sentences, and what to type next."""
    write_model_card(recipe.directory)
    checkpoints.save_final(recipe.directory, model, tokenizer)
    run_directory.finish({"steps": recipe.max_steps})
    print(f"\nThe model is in {recipe.directory}\n")
    if not recipe.mlm_only:
        sentences = [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in held_out[:2]["input_ids"]]
        print(*describe(model.eval(), tokenizer, sentences, recipe.max_length), sep="\n")
    print(f"Next, a plain encoder of it: {conversion_of(recipe.directory)}")
    push_run(recipe.directory, recipe.push_to_hub)


def main(argv: list[str]) -> None:
    recipe = read_recipe(argv, __doc__)
    with deaths(safe=lambda: checkpoints.what_is_safe(recipe.directory)):
        train(recipe)


def train(recipe: Recipe) -> None:
    # --- hardware, run directory, data, model ---------------------------------------------------------------------
    accelerator = make_accelerator(recipe)
    device, rank, world_size = accelerator.device, accelerator.process_index, accelerator.num_processes
    run_directory = RunDirectory(recipe.directory) if accelerator.is_main_process else None  # held until the end
    tokenizer = tokenizer_of(recipe.model) if is_autoencoder(recipe.model) else load_tokenizer(recipe.model)
    training, held_out, corpus = load_sentences(recipe, tokenizer, accelerator)
    plain_model = make_model(recipe, tokenizer).to(device)  # pyright: ignore[reportArgumentType]
    accelerator.print(f"{recipe.model} on {world_size} x {device.type}, precision: {accelerator.mixed_precision}")
    check_disk(recipe.directory, plain_model, recipe.keep_last)
    if warning := memory_warning(plain_model, recipe.batch_size // world_size * min(recipe.max_length, 64), device):
        accelerator.print(f"warning: {warning}")
    optimizer = make_optimizer(plain_model, recipe.learning_rate, recipe.encoder_learning_rate, recipe.weight_decay)
    inputs = {"precision": accelerator.mixed_precision, "corpus": corpus, "tokenizer": tokenizer_fingerprint(tokenizer)}
    inputs |= {"encoder": fingerprint(plain_model.encoder), "start": fingerprint(plain_model)}

    # --- a new run, one to go on with, or a finished one ----------------------------------------------------------
    start, meter = 0, Meter(device, scaled=accelerator.scaler is not None)
    collapse_watch, type_watch = CollapseWatch(), DeadTypeWatch(recipe.num_types, device)
    found = checkpoints.where_to_start(run_directory, recipe, inputs) if run_directory else (None, False)
    checkpoint, finished = broadcast_object_list([*found])
    if finished:
        return push_run(recipe.directory, recipe.push_to_hub) if run_directory else None
    if checkpoint is not None:
        start, state = checkpoints.load_step(checkpoint, plain_model, optimizer)  # pyright: ignore[reportArgumentType]
        meter.load_state(state["meter"])
        type_watch.last_seen += torch.tensor(state["types"], device=device)
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"])

    # --- what feeds and watches the loop --------------------------------------------------------------------------
    accumulation = recipe.gradient_accumulation_steps
    batches = Batches(
        training, tokenizer, recipe.batch_size, recipe.max_length, recipe.seed, rank, world_size,
        mlm_probability=recipe.mlm_probability, packing="few_shapes" if device.type == "cuda" else "tight",
    )  # fmt: skip
    loader = batch_loader(batches, start * accumulation, recipe.max_steps * accumulation, device, recipe.num_workers)
    log = RunLog(recipe.directory, accelerator, resumed_after=start)
    stop, stopping = StopSignal(), False
    progress = tqdm(total=recipe.max_steps, initial=start, desc=recipe.name, unit="step", disable=run_directory is None)

    def corpus_lines(step: int) -> list[int]:
        numbers = range(step * accumulation, (step + 1) * accumulation)
        return [line for number in numbers for line in training[batches.rows_of(number)]["line"]]

    def validation(step: int) -> None:
        metrics = validate(plain_model, tokenizer, held_out, recipe, accelerator)
        log.print(f"step {step}, held out: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
        log.write(step, metrics, validation=True)

    def save(step: int) -> None:
        if run_directory:
            log.sync()
            scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
            state = {"meter": meter.state(), "types": type_watch.last_seen.tolist(), "scaler": scaler}
            checkpoints.save_step(recipe.directory, step, plain_model, tokenizer, optimizer, state, recipe.keep_last)

    # --- loop -----------------------------------------------------------------------------------------------------
    if start == 0:
        validation(0)
    model, done, upcoming = plain_model.train(), start, iter(loader)
    weights = {"mlm": 1.0, "reconstruction": recipe.alpha, "sparsity": recipe.beta, "kl": recipe.gamma}
    for step in range(start, recipe.max_steps):
        frozen = step < recipe.frozen_steps
        if step in (start, recipe.frozen_steps):
            plain_model.freeze_encoder(frozen)
            accelerator.free_memory()  # DistributedDataParallel must be made anew for other parameters
            model, optimizer = accelerator.prepare(plain_model, optimizer)
            if recipe.compile:  # on a GPU replayed as CUDA graphs, one for each shape of a batch
                packs(plain_model.encoder)  # tried before the model is traced
                model = torch.compile(model, dynamic=True, mode="reduce-overhead" if accumulation == 1 else None)
        rates = set_learning_rate(
            optimizer, step, recipe.lr_schedule, recipe.warmup_steps, recipe.frozen_steps, recipe.max_steps
        )
        tau = temperature(
            step, recipe.max_steps, recipe.temperature_start, recipe.temperature_end, recipe.temperature_share
        )
        weights["sparsity"] = recipe.beta * ramp(step, recipe.sparsity_ramp * recipe.max_steps)
        for number in range(step * accumulation, (step + 1) * accumulation):
            batch = {key: tensor.to(device, non_blocking=True) for key, tensor in next(upcoming).items()}
            if recipe.mlm_only:
                del batch["input_ids"]
            torch.manual_seed(seed_of(recipe.seed, number, rank))  # Gumbel noise and dropout
            with accelerator.accumulate(model):
                output = model(**batch, tau=torch.full((), tau, device=device), sampled_words=recipe.sampled_words)
                loss = sum(weights[name] * value for name, value in output.losses.items())
                accelerator.backward(loss)
                meter.add({"loss": loss} | output.named_scalars(), 1 / accumulation)
                if not recipe.mlm_only:
                    type_watch.look(step, output.type_ids, batch["attention_mask"])
                if accelerator.sync_gradients:
                    meter.end_step(step, accelerator.clip_grad_norm_(model.parameters(), recipe.max_grad_norm))  # pyright: ignore[reportArgumentType]
                optimizer.step()
                optimizer.zero_grad()
        last = (done := step + 1) == recipe.max_steps
        progress.update()
        if done % 50 == 0:  # it takes a tenth of a step
            trim_heap()

        logging = last or done % recipe.logging_steps == 0
        if world_size == 1:
            stopping = stop.number > 0
        elif logging:  # a signal reaches each process at its own time; where there are several they agree at log lines
            stopping = accelerator.reduce(torch.tensor(stop.number, device=device)).item() > 0  # pyright: ignore[reportAttributeAccessIssue]
        if logging:
            meter.check(recipe.directory, corpus_lines)
            means = meter.means() | {"tau": tau, **rates, "encoder_frozen": int(frozen)}
            if not recipe.mlm_only:
                means["dead_types"] = len(dead := type_watch.dead(done, accelerator))
                collapse = collapse_watch.look(means["share_typed"], means["type_perplexity"])
                for problem in filter(None, (collapse, type_watch.warning(dead))):
                    log.print(f"warning: step {done}: {problem}")
            progress.set_postfix({name: f"{value:.3g}" for name, value in means.items() if "loss" in name})
            log.write(done, means)
        if last or done % recipe.eval_steps == 0:
            validation(done)
        if last or stopping or done % recipe.save_steps == 0:
            meter.check(recipe.directory, corpus_lines)
            save(done)
        if stopping and not last:
            break
    progress.close()
    stop.restore()
    log.close()

    # --- the end --------------------------------------------------------------------------------------------------
    if meter.skipped:
        accelerator.print(f"{int(meter.skipped)} steps were left out because their fp16 gradients overflowed")
    if run_directory:
        write_curves(recipe.directory)
    if done < recipe.max_steps:
        accelerator.print(f"stopped after step {done}; the same command goes on from there")
        sys.exit(128 + (stop.number or signal.SIGTERM))
    if run_directory:
        finish(run_directory, recipe, plain_model, tokenizer, held_out)


if __name__ == "__main__":
    run(main, training=True)
