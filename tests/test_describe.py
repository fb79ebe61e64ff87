"""test_generation.py and model/describe.py: types and reconstructions of any text."""

import contextlib
import fcntl
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from model import SparseLTForPreTraining
from model.describe import describe
from test_generation import EXAMPLES, main
from training.checkpoints import write_manifest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT.parent / "shared" / "reference" / "official_checkpoint"

ODD = {
    "empty": "",
    "white space": " \t \u3000\u200b\n",
    "emoji": "he won 😀👩‍👩‍👧 .",
    "Chinese": "部長在巴黎會見了總統。",
    "Arabic": "التقى الرئيس بالوزير",
    "line separators": "he\u2028won\x85a\x0bb\x1cc",
    "NUL": "he\0won",
    "special tokens": "[CLS] he [MASK] [PAD] won [SEP] .",
    "no characters": "\udcff\ud800 he won",  # what Python makes of an argument that is not UTF-8
    "HTML": "<b>he won</b>",
}


@pytest.fixture(scope="module")
def checkpoint(tiny_encoder, tiny_tokenizer, tmp_path_factory):
    torch.manual_seed(1)
    model = SparseLTForPreTraining.from_encoder(str(tiny_encoder), num_types=4)
    directory = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(directory)
    tiny_tokenizer.save_pretrained(directory)
    return directory


def answers(checkpoint, *arguments):
    """The objects that `--json` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main(["--checkpoint", str(checkpoint), "--device", "cpu", "--json", *arguments])
    return [json.loads(line) for line in printed.getvalue().splitlines()]


@torch.no_grad()
def test_types_and_reconstruction_of_one_sentence(tiny_model, tiny_tokenizer, sentences):
    for sentence in sentences:
        (description,) = describe(tiny_model, tiny_tokenizer, [sentence], 64)
        ids = tiny_tokenizer(sentence, return_tensors="pt")["input_ids"]
        logits = tiny_model.encode(ids, torch.ones_like(ids))[0] @ tiny_model.typer.weight.T  # (T, C)
        logits[:, 0] = 0
        tokens = ["[CLS]", *tiny_tokenizer.tokenize(sentence), "[SEP]"]
        expected = [(token, k) for token, k in zip(tokens, logits.argmax(-1).tolist(), strict=True) if k]
        assert description.types == [(token, k) for token, k in expected if token not in ("[CLS]", "[SEP]")]
        rebuilt = tiny_model.generate(ids, do_sample=False)[0]
        assert description.reconstruction == tiny_tokenizer.decode(rebuilt, skip_special_tokens=True)
        assert description.sentence == sentence and description.cut_at is None


def test_untyped_tokens_are_left_out_and_pieces_keep_their_marks(tiny_model, tiny_tokenizer, sentences):
    described = list(describe(tiny_model, tiny_tokenizer, sentences, 64))
    typed = sum(len(description.types) for description in described)
    words = sum(len(tiny_tokenizer.tokenize(sentence)) for sentence in sentences)
    assert 0 < typed < words
    assert any(token.startswith("##") for description in described for token, _ in description.types)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_changes_nothing(tiny_model, tiny_tokenizer, sentences, num_beams):
    sentences = [*ODD.values(), *sentences]
    alone = [next(describe(tiny_model, tiny_tokenizer, [sentence], 64)) for sentence in sentences]
    for batch_size in (3, 32):
        together = list(describe(tiny_model, tiny_tokenizer, iter(sentences), 64, batch_size=batch_size))
        assert together == alone
    beams = list(describe(tiny_model, tiny_tokenizer, sentences, 64, num_beams=num_beams))
    assert [d.types for d in beams] == [d.types for d in alone]
    assert (beams == alone) == (num_beams == 1)


def test_the_three_blocks(tiny_model, tiny_tokenizer):
    (description,) = describe(tiny_model, tiny_tokenizer, ["He won again."], 64)
    types = ", ".join(f"{token}({k})" for token, k in description.types)
    assert str(description) == (
        "INPUT SENTENCE:\nHe won again.\n\n"
        f"LATENT TYPINGS:\n{types}\n\n"
        f"OUTPUT SENTENCE:\n{description.reconstruction}\n"
    )
    assert types.count("(") >= 2 and description.reconstruction


def test_long_sentences_are_cut_and_say_so(checkpoint, capsys):
    fits, longer = " ".join(["won"] * 14), " ".join(["won"] * 15)
    found = answers(checkpoint, "--max_length", "16", fits, longer, "won " * 100_000)
    assert [answer["cut_at"] for answer in found] == [None, 16, 16]
    assert found[2]["sentence"] == "won " * 100_000
    assert all(len(answer["types"]) <= 14 for answer in found)
    assert [answer["cut_at"] for answer in answers(checkpoint, "won " * 63)] == [64]  # all the encoder can
    main(["--checkpoint", str(checkpoint), "--max_length", "16", longer])
    assert f"{longer}\n(cut: only its first 16 tokens were read)\n\nLATENT" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ODD)
def test_any_text(checkpoint, kind, capsys):
    (answer,) = answers(checkpoint, ODD[kind])
    assert answer["sentence"] == ODD[kind].encode("utf-8", "replace").decode()
    assert answer["cut_at"] is None
    if kind in ("empty", "white space"):
        assert answer["types"] == []
    main(["--checkpoint", str(checkpoint), ODD[kind]])
    assert capsys.readouterr().out.startswith("INPUT SENTENCE:\n")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sentences=st.lists(st.text(st.characters(exclude_categories=())) | st.sampled_from(list(ODD.values())), min_size=1),
    max_length=st.integers(3, 64),
)
def test_fuzz(checkpoint, tiny_tokenizer, sentences, max_length):
    found = answers(checkpoint, "--max_length", str(max_length), "--", *sentences)
    assert [answer["sentence"] for answer in found] == [s.encode("utf-8", "replace").decode() for s in sentences]
    for answer in found:
        tokens = tiny_tokenizer.tokenize(answer["sentence"])
        assert answer["cut_at"] == (max_length if len(tokens) > max_length - 2 else None)
        remaining = iter(tokens[: max_length - 2])
        for token, k in answer["types"]:  # a subsequence of the tokens
            assert token in remaining and k in (1, 2, 3)


# --- files, flags and mistakes ----------------------------------------------------------------------------------------


def test_a_file_has_one_answer_a_line(checkpoint, tmp_path):
    file = tmp_path / "sentences.txt"
    file.write_bytes("\ufeffhe won .\r\n\r\nprices rose .".encode())
    assert answers(checkpoint, "--file", str(file)) == answers(checkpoint, "he won .", "", "prices rose .")
    file.write_bytes(b"")
    assert answers(checkpoint, "--file", str(file)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"he won\n\xff\xfe\n", "line 2: not valid UTF-8"), (b"a\n\n\0", "line 3: a NUL"), (b"x" * 10**7, "line 1: over")],
)
def test_a_file_that_is_no_text(checkpoint, tmp_path, content, message):
    file = tmp_path / "sentences.txt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{file}, {message}"):
        answers(checkpoint, "--file", str(file))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["he won", "--file", "f"], "name sentences or --file, not both"),
        (["--file", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["he won", "--num_beams", "0"], "--num_beams"),
        (["he won", "--max_length", "2"], "at least 3"),
        (["he won", "--max_length", "65"], "--max_length 65 exceeds the encoder's 64 positions"),
        (["he won", "--tokenizer", "minilm"], "ids up to 30,521 but the encoder embeds 163"),
    ],
)
def test_mistakes(checkpoint, arguments, message):
    with pytest.raises(UserError, match=message):
        answers(checkpoint, *arguments)


# --- sentences from standard input -----------------------------------------------------------------------------------


def start(checkpoint, *arguments, **options):
    """The script in a process of its own."""
    command = [sys.executable, ROOT / "test_generation.py", "--checkpoint", checkpoint, "--device", "cpu", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_the_command_line(checkpoint):
    process = start(checkpoint, b"\xff \xf0\x9f\x98\x80")
    printed, errors = process.communicate()
    assert process.returncode == 0 and not errors, errors
    assert "? 😀".encode() in printed


def test_a_pipe_is_answered_line_by_line(checkpoint):
    process = start(checkpoint, "--json", stdin=subprocess.PIPE)
    for sentence in (b"he won .", b"", b"prices \xff rose ."):
        process.stdin.write(sentence + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["sentence"] == sentence.decode(errors="replace")  # before the next
    printed, errors = process.communicate(b"no line end")
    assert json.loads(printed)["sentence"] == "no line end"
    assert process.returncode == 0 and not errors, errors


def test_without_any_input_there_are_two_examples(checkpoint):
    process = start(checkpoint, "--json", stdin=subprocess.DEVNULL)
    printed, errors = process.communicate()
    assert [json.loads(line)["sentence"] for line in printed.splitlines()] == EXAMPLES
    assert process.returncode == 0 and not errors, errors
    command = ["bash", "-c", '"$@" <&-', "-", *process.args]  # no standard input at all
    assert subprocess.run(command, capture_output=True, check=True).stdout == printed


@pytest.mark.parametrize("end", [b"\n", b"\x04", b"\x03"], ids=["an empty line", "Ctrl-D", "Ctrl-C"])
def test_a_terminal_is_prompted_and_answered(checkpoint, end):
    ours, theirs = pty.openpty()
    process = start(
        checkpoint, "--json", stdin=theirs, start_new_session=True, preexec_fn=lambda: take_terminal(theirs)
    )
    os.close(theirs)
    assert process.stderr.readline() == b"Type a sentence and press Enter; an empty line ends.\n"
    for sentence in ("he won .", "prices rose ."):
        os.write(ours, sentence.encode() + b"\n")
        assert json.loads(process.stdout.readline())["sentence"] == sentence
    os.write(ours, end)
    printed, errors = process.communicate()
    os.close(ours)
    assert not printed and not errors, errors
    assert process.returncode == (-signal.SIGINT if end == b"\x03" else 0)


def take_terminal(descriptor):
    """Make it this session's, so that Ctrl-C is a signal; also where a script's background jobs ignore that."""
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_reader_that_goes_away_ends_it_quietly(checkpoint):
    process = start(checkpoint, *["he won ."] * 40)
    assert process.stdout.readline() == b"INPUT SENTENCE:\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


def test_without_a_checkpoint_the_newest_finished_run_answers(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"checkpoints holds no finished run of pretrain\.py; name a checkpoint by"):
        main(["he won ."])
    for name in ("newest", "older"):
        write_manifest(shutil.copytree(checkpoint, tmp_path / "checkpoints" / name))
    os.utime(tmp_path / "checkpoints/older/manifest.json", (0, 0))
    main(["--device", "cpu", "he won ."])
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == "checkpoint: checkpoints/newest" and "LATENT TYPINGS" in printed.out


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the published checkpoint is not here")
def test_the_published_layout_with_a_tokenizer(tiny_encoder, sentences):
    found = answers(REFERENCE, "--tokenizer", str(tiny_encoder), *sentences, *ODD.values())
    assert len(found) == len(sentences) + len(ODD)
    assert all(1 <= k < 64 for answer in found for _, k in answer["types"])
