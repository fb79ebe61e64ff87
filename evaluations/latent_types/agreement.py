"""Do latent types agree with entity types that people annotated, and more than they would by the architecture alone?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score, v_measure_score
from sklearn.metrics.cluster import contingency_matrix
from transformers import AutoModel, PreTrainedTokenizerBase

from common.encoders import encoder_path
from common.errors import UserError
from common.text import read_lines
from evaluations.latent_types.typed_corpus import batches, type_sentences
from model import SparseLTForPreTraining

OUTSIDE = "O"
CONTROL_SEEDS = 3


@dataclass
class Measures:
    """Agreement of a clustering with gold entity types over entity tokens; all in 0..1 except `ratio`."""

    v_measure: float
    nmi: float
    purity: float
    typed_entities: float | None = None  # share of entity tokens that are typed; None where all clusters are alike
    typed_others: float | None = None
    ratio: float | None = None  # of the two; None where no other token is typed


@dataclass
class Result:
    """The measures of one way to cluster tokens, once per seed."""

    name: str
    runs: list[Measures]

    def mean(self, measure: str) -> float | None:
        """Of a measure over the seeds; None where it does not apply."""
        values = [getattr(run, measure) for run in self.runs]
        return None if None in values else float(np.mean(values))

    def deviation(self, measure: str) -> float | None:
        """Sample standard deviation over the seeds; None for a single run or a measure that does not apply."""
        values = [getattr(run, measure) for run in self.runs]
        return None if None in values or len(values) < 2 else float(np.std(values, ddof=1))


def read_labelled(path: str | Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """Sentences of a two-column file (`word TAB label`, a blank line between sentences).

    Yields:
        the line a sentence begins at, its words, its labels.

    Raises:
        UserError: a line has not exactly two columns, or the file cannot be read.
    """
    words: list[str] = []
    labels: list[str] = []
    number = 0
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            columns = line.split("\t")
            if len(columns) != 2 or not all(column.strip() for column in columns):
                raise UserError(f"{path}, line {number}: expected `word TAB label`, found {len(columns)} column(s)")
            words.append(columns[0])
            labels.append(columns[1].strip())
        elif words:
            yield number - len(words), words, labels
            words, labels = [], []
    if words:
        yield number - len(words) + 1, words, labels


@dataclass
class LabelledTokens:
    """N sentences as ids, and the one token of each of the K words that stands for it: its first word piece."""

    sentences: list[list[int]]
    places: list[np.ndarray]  # per sentence, where in its ids the words begin
    labels: np.ndarray  # (K,) gold labels, strings

    @property
    def entity(self) -> np.ndarray:
        """(K,) whether a word belongs to an entity."""
        return self.labels != OUTSIDE


def load_labelled(
    path: str | Path, tokenizer: PreTrainedTokenizerBase, max_length: int, most: int, seed: int
) -> LabelledTokens:
    """At most so many sentences of a labelled file, drawn without replacement.

    Words behind `max_length`, and those of which the tokenizer makes nothing, are left out.

    Raises:
        UserError: the file is not in the format, or no drawn sentence has an entity of two different types.
    """
    read = list(read_labelled(path))
    if not read:
        raise UserError(f"{path} holds no labelled sentence")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(read))[:most])
    encoded = tokenizer([read[i][1] for i in drawn], is_split_into_words=True, truncation=True, max_length=max_length)
    places, labels = [], []
    for row, i in enumerate(drawn):
        word_of_token = encoded.word_ids(row)
        first = [t for t, w in enumerate(word_of_token) if w is not None and w != word_of_token[t - 1]]
        places.append(np.array(first, dtype=int))
        labels += [read[i][2][word_of_token[t]] for t in first]
    tokens = LabelledTokens(encoded["input_ids"], places, np.array(labels))
    if len(set(tokens.labels[tokens.entity])) < 2:
        raise UserError(f"{path}: the {len(drawn)} sentences drawn have no two entity types to tell apart")
    return tokens


def measure(clusters: np.ndarray, tokens: LabelledTokens, zero_is_untyped: bool) -> Measures:
    """Compare the clusters of the K words, (K,), with their gold labels.

    V-measure (Rosenberg and Hirschberg 2007) is the harmonic mean of homogeneity and completeness; NMI divides the
    mutual information by the geometric mean of the entropies (Strehl and Ghosh 2002; with the arithmetic mean it would
    be the V-measure again); purity is the share of tokens with their cluster's commonest label. All three are over the
    entity tokens only, `not typed` being a cluster like the others.
    """
    entity = tokens.entity
    gold, found = tokens.labels[entity], clusters[entity]
    measures = Measures(
        v_measure=float(v_measure_score(gold, found)),
        nmi=float(normalized_mutual_info_score(gold, found, average_method="geometric")),
        purity=float(contingency_matrix(gold, found).max(axis=0).sum() / len(gold)),
    )
    if zero_is_untyped:
        measures.typed_entities = float((found > 0).mean())
        if not entity.all():
            measures.typed_others = float((clusters[~entity] > 0).mean())
        if measures.typed_others:
            measures.ratio = measures.typed_entities / measures.typed_others
    return measures


def latent_types(
    model: SparseLTForPreTraining, tokenizer: PreTrainedTokenizerBase, tokens: LabelledTokens, description: str
) -> np.ndarray:
    """The type of each of the K words, (K,)."""
    types = type_sentences(model, tokenizer, tokens.sentences, description)
    return np.concatenate([row[places] for row, places in zip(types, tokens.places, strict=True)])


@torch.no_grad()
def plain_states(encoder: str, tokenizer: PreTrainedTokenizerBase, tokens: LabelledTokens) -> np.ndarray:
    """The last hidden state of a plain BERT at each of the K words, (K, D)."""
    bert = AutoModel.from_pretrained(encoder_path(encoder), dtype=torch.float32).eval()
    bert.to("cuda" if torch.cuda.is_available() else "cpu")
    states: list[np.ndarray] = [np.empty(0)] * len(tokens.sentences)
    for chosen, input_ids, mask in batches(tokens.sentences, tokenizer, bert.device, "plain encoder"):
        hidden = bert(input_ids, attention_mask=mask).last_hidden_state.cpu().numpy()  # (B, T, D)
        for i, row in zip(chosen, hidden, strict=True):
            states[i] = row[tokens.places[i]]
    return np.concatenate(states)


def agreement(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    tokens: LabelledTokens,
    encoder: str,
    seed: int,
) -> list[Result]:
    """The trained types and two controls, each over `CONTROL_SEEDS` seeds.

    The first control is the same architecture with encoder and typer drawn anew: what types say that follow the word
    and its surroundings at random. The second is k-means, as many clusters as there are types besides `not typed`, on
    the states of the plain encoder the training began with: what was there before. Neither sees the labels.

    Args:
        encoder: the plain encoder, by the names of `common.encoders.encoder_path`.
    """
    trained = Result("trained", [measure(latent_types(model, tokenizer, tokens, "trained"), tokens, True)])
    random = Result("random encoder and typer", [])
    for number in range(CONTROL_SEEDS):
        torch.manual_seed(seed + number)
        control = SparseLTForPreTraining(model.config).eval().to(model.device)
        types = latent_types(control, tokenizer, tokens, f"random {number + 1}/{CONTROL_SEEDS}")
        random.runs.append(measure(types, tokens, True))
    states = plain_states(encoder, tokenizer, tokens)
    clusters = min(model.config.num_types - 1, len(states))
    kmeans = Result(f"k-means, {clusters} clusters of plain states", [])
    for number in range(CONTROL_SEEDS):
        found = KMeans(clusters, n_init=1, random_state=seed + number).fit_predict(states)
        kmeans.runs.append(measure(found, tokens, False))
    return [trained, random, kmeans]
