"""The shape of states, against pairs counted one by one and covariances known beforehand."""

import itertools

import pytest
import torch
from transformers import BertModel

from common.errors import UserError
from evaluations import states


def test_anisotropy_is_the_mean_cosine_of_all_pairs():
    torch.manual_seed(0)
    rows = torch.randn(20, 5) + 1
    pairs = [torch.cosine_similarity(a, b, dim=0) for a, b in itertools.combinations(rows, 2)]
    assert states.anisotropy(rows) == pytest.approx(torch.stack(pairs).mean().item(), abs=1e-6)


def test_effective_rank():
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)))  # a covariance of the identity
    assert states.effective_rank(corners) == pytest.approx(4)
    assert states.effective_rank(corners @ torch.randn(4, 1) @ torch.randn(1, 6) + 7) == pytest.approx(1, abs=1e-5)
    # variances 3/4 and 1/4: exp(-(3/4 log 3/4 + 1/4 log 1/4)) = 4 / 3^(3/4)
    assert states.effective_rank(corners[:, :2] * torch.tensor([3**0.5, 1.0])) == pytest.approx(4 / 3**0.75)


def table(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines()[2:]]


def test_moved_encoders(tiny_encoder, tmp_path, sentences, capsys):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(sentences))
    moved = BertModel.from_pretrained(tiny_encoder)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.mul_(1.5)
    moved.save_pretrained(tmp_path / "moved")
    command = ["--data", str(corpus), "--device", "cpu", str(tiny_encoder)]
    states.main([*command, str(tmp_path / "moved")])
    same, other = table(capsys.readouterr().out)
    assert same[1:3] == ["0.000", "1.000"] and other[1] == "0.500" and float(other[2]) < 0.999
    states.main([*command, "--batch_size", "1"])  # padding changes nothing
    assert table(capsys.readouterr().out) == [same]
    small = BertModel(BertModel.config_class(**{**moved.config.to_dict(), "num_hidden_layers": 1}))
    small.save_pretrained(tmp_path / "small")
    with pytest.raises(UserError, match="small is not a continuation of"):
        states.main([*command, str(tmp_path / "small")])


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(UserError, match=f"--device {device}: "):
        states.main(["--data", "lee_news", "--device", device, "minilm"])


def test_sentences_beyond_the_positions_of_an_encoder_are_refused(tiny_encoder, sentences, tmp_path):
    (tmp_path / "corpus.txt").write_text(" ".join(sentences))
    with pytest.raises(UserError, match="exceeds the encoder's 64 positions"):
        states.main(["--data", str(tmp_path / "corpus.txt"), "--device", "cpu", str(tiny_encoder)])
