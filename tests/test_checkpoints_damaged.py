"""model/checkpoints.py: everything that is no checkpoint is refused in one sentence, and nothing of it runs."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_cases import edit_config, edit_tensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from common.errors import UserError
from model import SparseLTForPreTraining, load_autoencoder

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("layout", ["ours", "earlier", "published"])
@pytest.mark.parametrize("file", ["config.json", "weights"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_missing_and_truncated_files(layout, file, share, request):
    directory = request.getfixturevalue(layout)
    if file == "weights":
        file = "pytorch_model.bin" if layout == "published" else "model.safetensors"
    content = (directory / file).read_bytes().rstrip()
    (directory / file).write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=file):
        load_autoencoder(directory)
    (directory / file).unlink()
    with pytest.raises(UserError, match=str(directory)):
        load_autoencoder(directory)


def test_no_checkpoint_at_all(tmp_path, tiny_encoder):
    for directory in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError, match=r"no readable config\.json"):
            load_autoencoder(directory)
    (tmp_path / "step-40").mkdir()
    with pytest.raises(UserError, match=r"an unfinished run\? It has step-40"):
        load_autoencoder(tmp_path)
    with pytest.raises(UserError, match="holds no autoencoder"):  # a plain BERT
        load_autoencoder(tiny_encoder)
    tensors = load_file(tiny_encoder / "model.safetensors")
    shutil.copy(tiny_encoder / "config.json", tmp_path)
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="is it a plain BERT"):
        load_autoencoder(tmp_path)


@pytest.mark.parametrize(
    "content", ["[]", '"a"', "3", "null", "{", "", "[" * 100_000, '{"a": ' * 100_000, "\xff", "NaN"]
)
def test_config_that_is_no_object(ours, content):
    (ours / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"config\.json is not"):
        load_autoencoder(ours)


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": 64},
        {"vocab_size": 100},
        {"num_hidden_layers": 1},
        {"decoder_layers": 2},
        {"decoder_layers": 0},
        {"num_types": 5},
        {"num_attention_heads": 3},
        {"num_attention_heads": 0},
        {"intermediate_size": -64},
        {"hidden_act": "no such function"},
        {"hidden_size": "32"},
        {"encoder": None},
        {"encoder": [1]},
        {"num_hidden_layers": None},
        {"decoder_layer_norm_eps": "small"},
        {"pad_token_id": 10**9},
        {"kl_form": "another"},
    ],
)
def test_config_that_does_not_fit(ours, fields):
    edit_config(ours, **fields)
    with pytest.raises(UserError, match=str(ours)):
        load_autoencoder(ours)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.update({"typer.weight": torch.zeros(4, 31)}),
        lambda tensors: tensors.update({"plain.cls.predictions.bias": torch.zeros(1)}),
        lambda tensors: tensors.update({"extra": torch.zeros(3)}),
        lambda tensors: tensors.pop("decoder.layers.0.attention.self.key.bias"),
        lambda tensors: tensors.pop("typer.weight"),
        lambda tensors: tensors.clear(),
    ],
)
def test_weights_that_do_not_fit(ours, change):
    edit_tensors(ours, change)
    with pytest.raises(UserError, match=str(ours)):
        load_autoencoder(ours)


@pytest.mark.parametrize(
    "name", ["glm_head.weight", "model.cls.predictions.decoder.weight", "decoder.embeddings.LayerNorm.bias"]
)
def test_published_weights_that_should_be_tied_but_differ(published, name):
    state = torch.load(published / "pytorch_model.bin", weights_only=True)
    state[name] = state[name] + 1
    torch.save(state, published / "pytorch_model.bin")
    with pytest.raises(UserError, match=name):
        load_autoencoder(published)


class Intruder:
    """Unpickling it creates a file."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return open, (str(self.proof), "w")


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(published, tmp_path, save):
    proof = tmp_path / "intruder_was_here"
    save({"model.bert.embeddings.word_embeddings.weight": Intruder(proof)}, published / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is refused"):
        load_autoencoder(published)
    assert not proof.exists()
    # the intruder is real
    with open(published / "pytorch_model.bin", "rb") as file:
        is_zip = file.read(2) == b"PK"
    if is_zip:
        torch.load(published / "pytorch_model.bin", weights_only=False)
    else:
        pickle.loads((published / "pytorch_model.bin").read_bytes())
    assert proof.exists()


@pytest.mark.parametrize(
    "value", [[torch.zeros(2)], torch.zeros(2), {"a": 1}, {"a": {"b": torch.zeros(2)}}, {1: torch.zeros(2)}]
)
def test_a_pickle_that_is_no_state_dict(published, value):
    torch.save(value, published / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds no state dict"):
        load_autoencoder(published)


PEAK_MEMORY = """
import resource, sys
from common.errors import UserError
from model import load_autoencoder

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # MiB

with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, [used + 3 * 2**30] * 2)  # a mistake shall not hurt the machine
load_autoencoder(sys.argv[1])  # whatever the first use of the libraries takes
for directory in sys.argv[2:]:
    before = peak()
    try:
        load_autoencoder(directory)
        print(peak() - before, "loaded")
    except UserError as error:
        print(peak() - before, error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's memory figures")
def test_absurd_sizes_are_refused_before_memory_is_taken(ours, published, tmp_path):
    """Each of these would take at least a GiB, or minutes, if it were believed."""
    absurd = {
        "vocabulary": {"vocab_size": 10_000_000},
        "positions": {"max_position_embeddings": 10_000_000},
        "types": {"num_types": 10_000_000},
        "width": {"hidden_size": 100_000},
        "layers": {"num_hidden_layers": 1_000_000},
        "compensated": {"num_hidden_layers": 1_000_000, "decoder_layers": 3 - 1_000_000},
        "labels": {"num_labels": 5_000_000},
    }
    directories = []
    for name, fields in absurd.items():
        for layout in (ours, published):
            directories.append(shutil.copytree(layout, tmp_path / f"{layout.name}_{name}"))
            edit_config(directories[-1], **fields)

    expanded = shutil.copytree(published, tmp_path / "published_expanded")  # one number claims to be 320 million
    state = torch.load(expanded / "pytorch_model.bin", weights_only=True)
    for name, tensor in state.items():
        if tensor.shape[0] == 163:  # the vocabulary
            state[name] = torch.zeros(1).expand(10_000_000, *tensor.shape[1:])
    torch.save(state, expanded / "pytorch_model.bin")
    edit_config(expanded, vocab_size=10_000_000)
    directories.append(expanded)

    result = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, str(ours), *map(str, directories)],
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    answers = [line.split(" ", 1) for line in result.stdout.splitlines()]
    assert len(answers) == len(directories)
    for directory, (mib, answer) in zip(directories, answers, strict=True):
        assert int(mib) < 64, directory
        # a BERT's number of labels is no business of ours, and the published layout tells the types by its tensors
        harmless = "labels" in directory.name or directory.name == "published_types"
        assert (answer == "loaded") == harmless, answer
        assert harmless or str(directory) in answer


# --- fuzz -------------------------------------------------------------------------------------------------------------


def load_or_user_error(directory):
    """No other exception than UserError may come out."""
    try:
        model = load_autoencoder(directory)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert isinstance(model, SparseLTForPreTraining)


def flip(content, places):
    content = bytearray(content)
    for place, bit in places:
        content[place % len(content)] ^= 1 << bit
    return bytes(content)


flips = st.lists(st.tuples(st.integers(0, 2**24), st.integers(0, 7)), min_size=1, max_size=4)
# the beginning of a file, where the headers are, deserves more than its share
damage = st.one_of(
    st.binary(max_size=300).map(lambda junk: lambda content: junk),
    st.floats(0, 1).map(lambda share: lambda content: content[: int(share * len(content))]),
    flips.map(lambda places: lambda content: flip(content, places)),
    flips.map(lambda places: lambda content: flip(content[:2000], places) + content[2000:]),
    st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)).map(
        lambda new: lambda content: content[: new[0]] + new[1] + content[new[0] + len(new[1]) :]
    ),
)


@pytest.mark.parametrize("layout", ["ours", "published"])
@pytest.mark.parametrize("file", ["config.json", "weights"])
def test_damaged_bytes(layout, file, request):
    directory = request.getfixturevalue(layout)
    if file == "weights":
        file = "model.safetensors" if layout == "ours" else "pytorch_model.bin"
    content = (directory / file).read_bytes()

    @FUZZ
    @given(damage)
    def check(change):
        (directory / file).write_bytes(change(content))
        load_or_user_error(directory)

    check()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(0, 70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["gelu", "sparse_lt", "bert", "float16", "eager", "plain"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("layout", ["ours", "published"])
def test_random_values_in_the_config(layout, request):
    directory = request.getfixturevalue(layout)
    fields = json.loads((directory / "config.json").read_text())
    names = sorted(
        {*fields, *fields.get("encoder", {}), "num_labels", "attn_implementation", "sub_configs", "auto_map"}
    )

    @FUZZ
    @given(st.dictionaries(st.sampled_from(names), json_values, min_size=1, max_size=3))
    def check(changes):
        (directory / "config.json").write_text(json.dumps(fields))
        edit_config(directory, **changes)
        load_or_user_error(directory)

    check()


@FUZZ
@given(json_values)
def test_any_json_is_no_config(ours, value):
    (ours / "config.json").write_text(json.dumps(value))
    with pytest.raises(UserError):
        load_autoencoder(ours)
