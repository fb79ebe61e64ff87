"""What the arms of a study need: a run that starts from another, an open gate, losses that do not train the encoder."""

import pytest
import torch
from model_cases import LOSSES, WEIGHTS, lay_out

import pretrain
from common.errors import UserError
from model import load_autoencoder, start_from


@pytest.fixture
def batch(tiny_tokenizer, ids):
    return lay_out([[i] for i in ids], max(map(len, ids)), tiny_tokenizer)


def encoder_gradients(model, batch, losses):
    """The encoder's gradient of the weighted sum of some losses, by parameter."""
    output = model(**batch)
    model.zero_grad()
    sum(WEIGHTS[name] * output.losses[name] for name in losses).backward()
    return {name: 0 if p.grad is None else p.grad.clone() for name, p in model.encoder.named_parameters()}


@pytest.mark.parametrize(
    ("detached", "left"),
    [
        (["reconstruction"], ["mlm", "sparsity", "kl"]),
        (["types"], ["mlm", "reconstruction"]),
        (["reconstruction", "types"], ["mlm"]),
    ],
)
def test_the_encoder_learns_from_what_is_not_detached_alone(tiny_model, batch, detached, left):
    expected = encoder_gradients(tiny_model.eval(), batch, left)
    before = {name: loss.item() for name, loss in tiny_model(**batch).losses.items()}
    tiny_model.config.detached = detached
    assert {name: loss.item() for name, loss in tiny_model(**batch).losses.items()} == pytest.approx(before, rel=1e-6)
    found = encoder_gradients(tiny_model, batch, LOSSES)
    for name, gradient in expected.items():
        torch.testing.assert_close(torch.as_tensor(found[name]), torch.as_tensor(gradient), rtol=1e-4, atol=1e-7)
    assert tiny_model.typer.weight.grad.abs().sum() > 0 and tiny_model.typer.type_embeddings.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in tiny_model.decoder.parameters() if parameter.dim() > 1)


def test_through_an_open_gate_the_decoder_reads_the_states(tiny_model, batch):
    tiny_model.config.gate = "open"
    typing = tiny_model.eval().type_tokens(batch["input_ids"], batch["attention_mask"])
    assert torch.equal(typing.gated, typing.encoder_last_hidden_state)
    tiny_model(**batch).losses["reconstruction"].backward()
    assert tiny_model.typer.weight.grad is None


def test_a_run_starts_where_another_ended(tiny_encoder, tmp_path):
    """With rates of next to nothing all of the model stays what it was, the gate excepted."""

    def train(name, model, *flags):
        places = f"--name {name} --output_dir {tmp_path} --model {model} --data lee_news --device cpu"
        pretrain.main(
            [
                *f"{places} --max_steps 3 --max_length 64 --batch_size 4 --eval_sentences 8 --report_to none".split(),
                *flags,
            ]
        )
        return load_autoencoder(tmp_path / name)

    first = train("first", tiny_encoder)
    still = ["--gate", "open", "--learning_rate", "1e-12", "--encoder_learning_rate", "1e-12", "--weight_decay", "0"]
    second = train("second", tmp_path / "first", *still)
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], tensor, rtol=0, atol=1e-9)
    assert (first.config.gate, second.config.gate) == ("typed", "open")
    with pytest.raises(UserError, match=r"--num_types 3: .*first was trained with 64"):
        start_from(str(tmp_path / "first"), num_types=3)
