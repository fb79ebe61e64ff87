"""What lets short runs carry a sentence: a frozen start, an open gate, sampled words, and a watch for dead types."""

import json

import pytest
import torch
from accelerate import Accelerator
from model_cases import lay_out

import pretrain
from encoders import IGNORED
from model.losses import sampled_cross_entropy, vocabulary_cross_entropy
from training.optimisation import make_optimizer
from training.watch import DeadTypeWatch


@pytest.fixture
def head():
    """What a vocabulary head reads, its matrix and bias, and labels of which one position has none."""
    torch.manual_seed(0)
    labels = torch.randint(500, (40,))
    labels[7] = IGNORED
    return torch.randn(40, 16), torch.randn(500, 16), torch.randn(500), labels


def test_all_words_sampled_is_the_exact_loss(head):
    torch.testing.assert_close(sampled_cross_entropy(*head, number=500), vocabulary_cross_entropy(*head))


def test_the_sampled_normaliser_is_right_on_average(head):
    """The expected sum over the drawn words, scaled, is the sum over all: brute force over many draws."""
    hidden, weight, bias, labels = head
    own = labels[labels != IGNORED].unique()
    others = torch.tensor([word for word in range(500) if word not in own.tolist()])
    logits = hidden.double() @ weight.double().T + bias.double()
    sums = []
    for seed in range(4000):
        torch.manual_seed(seed)
        drawn = torch.randperm(500)[:300]
        drawn = drawn[~torch.isin(drawn, own)]
        sums.append(logits[:, drawn].exp().sum(1) * len(others) / len(drawn))
    torch.testing.assert_close(torch.stack(sums).mean(0), logits[:, others].exp().sum(1), rtol=0.02, atol=0)

    torch.manual_seed(5)
    found = sampled_cross_entropy(*head, number=300)
    normaliser = (logits[:, own].exp().sum(1) + sums[5]).log()
    real = labels != IGNORED
    expected = (normaliser[real] - logits[real, labels[real]]).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_a_frozen_encoder_has_no_gradient_no_state_and_no_dropout(tiny_model, tiny_tokenizer, ids):
    batch = lay_out([[i] for i in ids], max(map(len, ids)), tiny_tokenizer)
    frozen = {name: p.detach().clone() for name, p in tiny_model.encoder.named_parameters()}
    optimizer = make_optimizer(tiny_model, 1e-2, 1e-2, 0.01)
    tiny_model.train()
    tiny_model.freeze_encoder(True)
    tiny_model.train()  # as validation does at its end
    first, second = (tiny_model.encode(batch["input_ids"], batch["attention_mask"]) for _ in range(2))
    assert torch.equal(first, second) and not first.requires_grad
    sum(tiny_model(**batch).losses.values()).backward()
    optimizer.step()
    for name, parameter in tiny_model.encoder.named_parameters():
        assert parameter.grad is None and parameter not in optimizer.state
        assert torch.equal(parameter, frozen[name]), name
    assert tiny_model.typer.weight in optimizer.state and tiny_model.plain.cls.predictions.bias in optimizer.state

    tiny_model.freeze_encoder(False)
    sum(tiny_model(**batch).losses.values()).backward()
    optimizer.step()
    assert all(parameter in optimizer.state for parameter in tiny_model.encoder.parameters())
    assert not torch.equal(tiny_model.get_input_embeddings().weight, frozen["embeddings.word_embeddings.weight"])


def test_the_gradient_of_frozen_word_embeddings_is_not_computed(head):
    hidden, weight, bias, labels = head
    gradients = []
    for frozen in (False, True):
        inputs = [
            hidden.clone().requires_grad_(),
            weight.clone().requires_grad_(not frozen),
            bias.clone().requires_grad_(),
        ]
        vocabulary_cross_entropy(*inputs, labels).backward()
        gradients.append([tensor.grad for tensor in inputs])
    assert gradients[1][1] is None and gradients[0][1] is not None
    torch.testing.assert_close(gradients[1][0], gradients[0][0])
    torch.testing.assert_close(gradients[1][2], gradients[0][2])


def test_metrics_tell_the_phase(tiny_encoder, tmp_path, sentences):
    (tmp_path / "corpus.txt").write_text("\n".join(sentences * 4))
    flags = "--max_steps 8 --frozen_steps 4 --batch_size 4 --logging_steps 2 --max_length 32 --device cpu"
    flags += " --sparsity_ramp 0.5 --name phases"
    places = ["--model", str(tiny_encoder), "--data", str(tmp_path / "corpus.txt"), "--output_dir", str(tmp_path)]
    pretrain.main([*flags.split(), *places])
    lines = [json.loads(line) for line in (tmp_path / "phases/metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "validation" not in line]
    assert [line["encoder_frozen"] for line in training] == [1, 1, 0, 0]
    assert [line["encoder_learning_rate"] > 0 for line in training] == [False, False, True, True]


def test_new_type_embeddings_lie_around_one(tiny_model):
    typer = type(tiny_model.typer)(512, 64)
    typer.reset_parameters()
    embeddings = typer.type_embeddings
    assert embeddings.mean().item() == pytest.approx(1, abs=0.02) and embeddings.std().item() == pytest.approx(
        0.3, abs=0.02
    )


def test_dead_types_are_found_and_told_once():
    watch = DeadTypeWatch(4, torch.device("cpu"))
    accelerator = Accelerator(cpu=True)
    mask = torch.tensor([[1, 1, 2, 0]])
    for step in range(watch.PATIENCE + 50):
        types = [1, 2 if step < 50 else 1, 0, 3]  # 3 stands on padding alone, 2 dies after step 50
        watch.look(step, torch.tensor([types]), mask)
        if step + 1 == watch.PATIENCE + 49:
            assert watch.dead(step + 1, accelerator) == [3]
    dead = watch.dead(watch.PATIENCE + 50, accelerator)
    assert dead == [2, 3]
    assert watch.warning(dead) == f"2 types took no token in the last {watch.PATIENCE} steps: 2, 3"
    assert watch.warning(dead) is None, "told once"
