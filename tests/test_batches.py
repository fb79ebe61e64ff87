"""data/batches.py: masking, packing, the batch of a step."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from data.batches import Batches, mask_tokens
from encoders.packing import first_fit_decreasing, pack, pack_in_few_shapes

# --- masking ----------------------------------------------------------------------------------------------------------


def assert_share(count, total, share):
    """Within five standard deviations of a binomial variable's mean."""
    assert abs(count - total * share) < 5 * math.sqrt(total * share * (1 - share)), f"{count / total} is not {share}"


def test_masking_statistics(tiny_tokenizer):
    generator = np.random.default_rng(0)
    n, first = 400_000, 5  # ids 0 to 4 are special
    ids = generator.integers(first, len(tiny_tokenizer), size=n)
    special = generator.random(n) < 0.1
    ids[special] = generator.integers(first, size=special.sum())
    original = ids.copy()
    masked, labels = mask_tokens(ids, tiny_tokenizer, generator)
    assert (ids == original).all()

    selected = labels != -100
    assert not selected[special].any()
    assert (labels[selected] == ids[selected]).all() and (masked[~selected] == ids[~selected]).all()
    assert_share(selected.sum(), (~special).sum(), 0.15)
    count, vocabulary = selected.sum(), len(tiny_tokenizer)
    became_mask = masked[selected] == tiny_tokenizer.mask_token_id
    assert_share(became_mask.sum(), count, 0.8 + 0.1 / vocabulary)
    assert_share((masked[selected] == ids[selected]).sum(), count, 0.1 + 0.1 / vocabulary)
    # the rest is uniform over the vocabulary
    random = masked[selected][~became_mask & (masked[selected] != ids[selected])]
    counts = np.bincount(random, minlength=vocabulary)[first:]
    assert (abs(counts - counts.mean()) < 5 * math.sqrt(counts.mean())).all()


def test_neighbours_are_masked_independently(tiny_tokenizer):
    n = 200_000
    _, labels = mask_tokens(np.full(n, 50), tiny_tokenizer, np.random.default_rng(1))
    selected = labels != -100
    assert_share((selected[1:] & selected[:-1]).sum(), n - 1, 0.15**2)


# --- packing ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(1, 128).flatmap(lambda width: st.tuples(st.just(width), st.lists(st.integers(1, width), min_size=1)))
)
def test_packing_properties(case):
    width, lengths = case
    rows = pack(lengths, width)
    used = [sum(lengths[i] for i in row) for row in rows]
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))  # each sentence exactly once
    assert max(used) <= width
    # hardly any padding, or no more than with rows of any other width
    least = min(len(first_fit_decreasing(lengths, w)) * w for w in range(max(lengths), width + 1))
    assert len(rows) * max(used) <= max(least, sum(lengths) / 0.98)


def test_packing_is_deterministic_and_known():
    assert first_fit_decreasing([3, 5, 2, 4], 7) == [[1, 2], [3, 0]]
    assert pack([3, 5, 2, 4], 100) == [[1, 2], [3, 0]]  # two rows of 7 rather than one of 14
    assert pack([3, 5, 2, 4], 6) == [[1], [3], [0, 2]]  # 14 in 15 places; in rows of 6 it would be 18
    assert pack([7], 128) == [[0]]
    assert pack([5, 5, 5], 9) == [[0], [1], [2]]


def test_hardly_any_padding_on_lengths_like_those_of_news():
    generator = np.random.default_rng(0)
    packed, padded = [], []
    for _ in range(50):
        lengths = np.clip(generator.lognormal(3.2, 0.5, size=32).astype(int) + 2, 3, 128)  # median 26 tokens
        rows = pack(lengths, 128)
        width = max(sum(lengths[i] for i in row) for row in rows)
        packed.append(lengths.sum() / (len(rows) * width))
        padded.append(lengths.mean() / lengths.max())
    assert np.mean(padded) < 0.5  # one sentence a row is mostly padding
    assert np.mean(packed) > 0.97 and min(packed) > 0.94


# --- the batch of a step ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset():
    """60 sentences of 3 to 42 tokens; the second token tells them apart."""
    generator = np.random.default_rng(0)
    sentences = [[2, 5 + i, *generator.integers(70, 160, size=generator.integers(0, 40)), 3] for i in range(60)]
    return Dataset.from_dict({"line": range(1, 61), "input_ids": sentences})


def sentences_of(batch):
    """The sentences in a batch as a multiset of (ids, masked ids, labels)."""
    found = Counter()
    for row in range(len(batch["input_ids"])):
        numbers = batch["attention_mask"][row]
        for number in range(1, numbers.max() + 1):
            here = numbers == number
            names = ("input_ids", "masked_input_ids", "mlm_labels")
            found[tuple(tuple(batch[name][row][here].tolist()) for name in names)] += 1
    return found


def test_a_batch_is_tensors_and_consistent(dataset, tiny_tokenizer):
    batches = Batches(dataset, tiny_tokenizer, batch_size=16, max_length=64, seed=3)
    for step in range(10):
        batch = batches[step]
        assert all(isinstance(value, torch.Tensor) and value.dtype == torch.int64 for value in batch.values())
        ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["mlm_labels"]
        assert ids.shape == mask.shape == labels.shape == batch["masked_input_ids"].shape
        assert ids.shape[1] <= 64
        padding = mask == 0
        assert (ids[padding] == 0).all() and (batch["masked_input_ids"][padding] == 0).all()
        assert (labels[padding] == -100).all()
        for numbers in mask.tolist():  # 1 1 1 2 2 3 0 0: sentences in order, padding last
            real = [number for number in numbers if number]
            assert real == sorted(real) and numbers == real + [0] * (len(numbers) - len(real))
            assert set(real) == set(range(1, max(real) + 1))
        assert torch.equal(batch["mlm_positions"], (labels != -100).flatten().nonzero().squeeze(1))
        expected = Counter(tuple(dataset[i]["input_ids"]) for i in batches.rows_of(step))
        assert Counter(ids for ids, _, _ in sentences_of(batch).elements()) == expected


def test_batches_are_a_function_of_the_step(dataset, tiny_tokenizer):
    def batches(seed=3):
        return Batches(dataset, tiny_tokenizer, batch_size=16, max_length=64, seed=seed)

    one_object, forwards = batches(), {}
    for step in range(12):
        forwards[step] = one_object[step]
    for step in (11, 2, 7, 2):  # backwards, twice, across epochs, in a new object
        for name, tensor in batches()[step].items():
            assert torch.equal(tensor, forwards[step][name])
            assert torch.equal(one_object[step][name], forwards[step][name])
    assert sentences_of(batches(seed=4)[0]) != sentences_of(forwards[0])


@pytest.mark.parametrize("packing", ["tight", "few_shapes", "none"])
@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_the_batch_of_one(dataset, tiny_tokenizer, packing, world_size):
    alone = Batches(dataset, tiny_tokenizer, batch_size=16, max_length=64, seed=3)
    ranks = [
        Batches(dataset, tiny_tokenizer, 16, 64, seed=3, rank=rank, world_size=world_size, packing=packing)
        for rank in range(world_size)
    ]
    for step in range(8):
        parts = [sentences_of(rank[step]) for rank in ranks]
        assert sum(parts, Counter()) == sentences_of(alone[step])  # the same sentences with the same masks
        assert [part.total() for part in parts] == [16 // world_size] * world_size


def test_an_epoch_has_each_sentence_once(dataset, tiny_tokenizer):
    batches = Batches(dataset, tiny_tokenizer, batch_size=7, max_length=64, seed=3)  # 60 is no multiple of 7
    drawn = [row for step in range(60 * 3 // 7 + 1) for row in batches.rows_of(step)]
    epochs = [drawn[start : start + 60] for start in (0, 60, 120)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(60))
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != list(range(60))


def test_a_sentence_is_masked_anew_each_time(dataset, tiny_tokenizer):
    longest = max(range(60), key=lambda i: len(dataset[i]["input_ids"]))
    batches = Batches(dataset.select([longest]), tiny_tokenizer, batch_size=2, max_length=64, seed=3)
    masks = {tuple(labels) for step in range(4) for _, _, labels in sentences_of(batches[step])}
    assert len(masks) == 8  # in each slot of each step


def test_packed_and_padded_hold_the_same(dataset, tiny_tokenizer):
    packed = Batches(dataset, tiny_tokenizer, batch_size=16, max_length=64, seed=3)[5]
    padded = Batches(dataset, tiny_tokenizer, batch_size=16, max_length=64, seed=3, packing="none")[5]
    assert sentences_of(packed) == sentences_of(padded)
    assert len(padded["input_ids"]) == 16 > len(packed["input_ids"])
    assert packed["input_ids"].numel() < padded["input_ids"].numel()


def test_few_shapes_hold_the_same(dataset, tiny_tokenizer, tiny_model):
    packed, few = (
        Batches(dataset, tiny_tokenizer, batch_size=24, max_length=64, seed=3, packing=packing)
        for packing in ("tight", "few_shapes")
    )
    assert len({batch["input_ids"].shape for batch in map(packed.__getitem__, range(30))}) > 8
    shapes = {(*few[step]["input_ids"].shape, len(few[step]["mlm_positions"])) for step in range(30)}
    assert len(shapes) <= 8 and {width for _, width, _ in shapes} == {64}
    one, other = packed[5], few[5]
    assert sentences_of(one) == sentences_of(other)
    assert (other["mlm_labels"].flatten()[other["mlm_positions"]] != -100).sum() == len(one["mlm_positions"])
    with torch.no_grad():
        ours, theirs = (tiny_model(**batch).named_scalars() for batch in (other, one))
    assert {name: pytest.approx(value.item(), rel=1e-5) for name, value in theirs.items()} == {
        name: value.item() for name, value in ours.items()
    }


@pytest.mark.parametrize(("number", "rounded"), [(1, 1), (7, 7), (15, 15), (16, 16), (17, 18), (33, 36), (121, 128)])
def test_rows_are_rounded_up(number, rounded):
    rows = pack_in_few_shapes([10] * number, 10)
    assert len(rows) == rounded and sorted(item for row in rows for item in row) == [*range(number)]
