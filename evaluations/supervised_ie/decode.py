"""The best graph of a sentence under the corpus's valid patterns (OneIE section 3.4, without global features)."""

from dataclasses import dataclass

import numpy as np

from evaluations.supervised_ie.data import NO_MENTION_TYPE, Entity, Event, Relation, Sentence, Span
from evaluations.supervised_ie.labels import Labels

BEAM = 10
INVALID = -np.inf


@dataclass
class LocalScores:
    """Log probabilities of everything that may stand in one sentence's graph."""

    entity_spans: list[Span]
    trigger_spans: list[Span]
    entities: np.ndarray  # (n, K)
    mentions: np.ndarray  # (n, mention types)
    events: np.ndarray  # (m, V)
    relations: np.ndarray  # (n, n, R + 1), label 0 = none; the diagonal means nothing
    roles: np.ndarray  # (m, n, Q + 1)
    # what the corpus does not annotate has one label, of probability 1


class GraphDecoder:
    """Chooses all types, relations and roles of a sentence together: the valid graph of the highest score.

    A graph's score is the sum of the log probabilities of its nodes' types and of its edges' labels. Between
    two entities there is one relation, in one direction, or none. Without patterns the best choice would be
    each one's own; a pattern couples an edge's label with the types of its two nodes.
    """

    def __init__(self, labels: Labels):
        self.labels = labels
        # what may be between entities i < j: (label of i -> j, label of j -> i)
        self.directions = [(0, 0)]
        for r, name in enumerate(labels.relation_types, start=1):
            self.directions += [(r, r)] if name in labels.symmetric_relations else [(r, 0), (0, r)]
        of_type = labels.valid_relations()[np.max(self.directions, axis=1)]  # (X, K)
        self.valid_relation = of_type[:, :, None] & of_type[:, None, :]  # (X, K, K)
        self.valid_role = labels.valid_roles()  # (Q + 1, V, K)

    def __call__(self, sentence: Sentence, scores: LocalScores) -> Sentence:
        """The sentence with its best graph in place of its annotation."""
        i, j = np.triu_indices(len(scores.entity_spans), k=1)
        there, back = np.array(self.directions).T
        relation = scores.relations[i, j][:, there] + scores.relations[j, i][:, back]  # (pairs, X)
        role = scores.roles  # (m, n, Q + 1)

        entity, event = scores.entities.argmax(axis=1), scores.events.argmax(axis=1)  # (n,), (m,)
        relations_fit = self.valid_relation[relation.argmax(axis=1), entity[i], entity[j]].all()
        if not (relations_fit and self.valid_role[role.argmax(axis=2), event[:, None], entity].all()):
            entity, event = self._best_types(scores, relation)  # else everyone's own best choice is the best graph
        # with the types known, every edge takes its best valid label
        relation = np.where(self.valid_relation[:, entity[i], entity[j]].T, relation, INVALID).argmax(axis=1)
        role = np.where(np.moveaxis(self.valid_role[:, event][:, :, entity], 0, 2), role, INVALID).argmax(axis=2)

        labels, mention_types = self.labels, self.labels.mention_types or [NO_MENTION_TYPE]
        entities = [
            Entity(*span, labels.entity_types[kind], mention_types[mention])
            for span, kind, mention in zip(scores.entity_spans, entity, scores.mentions.argmax(axis=1), strict=True)
        ]
        relations = []
        for a, b, x in zip(i.tolist(), j.tolist(), relation, strict=True):
            there, back = self.directions[x]
            if there or back:
                ends = (a, b) if there else (b, a)
                relations.append(Relation(labels.relation_types[(there or back) - 1], *ends))
        events = []
        for span, kind, played in zip(scores.trigger_spans, event, role, strict=True):
            arguments = tuple((int(e), labels.roles[played[e] - 1]) for e in np.flatnonzero(played))
            events.append(Event(*span, labels.event_types[kind], arguments))
        return Sentence(sentence.doc_id, sentence.sent_id, sentence.tokens, entities, relations, events)

    def _best_types(self, scores: LocalScores, relation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The entities' and the events' types in the best graph; triggers are the first nodes, then entities."""
        (n, k), (m, v) = scores.entities.shape, scores.events.shape
        node = np.full((m + n, max(v, k)), INVALID)
        node[:m, :v], node[m:, :k] = scores.events, scores.entities
        # what the best valid label of an edge adds, given the types of its ends: (nodes, nodes, types, types)
        edge = np.zeros((m + n, m + n, max(v, k), max(v, k)))
        i, j = np.triu_indices(n, k=1)
        edge[m + i, m + j, :k, :k] = np.where(self.valid_relation, relation[:, :, None, None], INVALID).max(axis=1)
        for t in range(m):
            edge[t, m:, :v, :k] = np.where(self.valid_role, scores.roles[t, :, :, None, None], INVALID).max(axis=1)
        types = beam_search(node, edge + edge.transpose(1, 0, 3, 2), BEAM)
        return types[m:], types[:m]


def beam_search(node: np.ndarray, edge: np.ndarray, width: int) -> np.ndarray:
    """Types (N,) that maximise sum_i node[i, type_i] + sum_{i<j} edge[i, j, type_i, type_j].

    Nodes are typed in order. Partial typings are ranked by an upper bound of what they can become: each
    open node's best type given the typed ones. A beam at least as wide as the number of typings is exact.

    Args:
        node: (N, C) scores, -inf where a node has no such type.
        edge: (N, N, C, C), edge[i, j, a, b] = edge[j, i, b, a].
    """
    types = np.zeros((1, 0), dtype=np.int64)  # (w, typed nodes) of each partial typing
    score = np.zeros(1)
    gain = node[None]  # (w, N, C): what typing a node so would add, given the nodes typed already
    for i in range(len(node)):
        # gains of the later nodes after giving node i the type c: (w, c, later nodes, C)
        later = gain[:, None, i + 1 :, :] + edge[i, i + 1 :].transpose(1, 0, 2)[None]
        reached = score[:, None] + gain[:, i]  # (w, c)
        bound = reached + later.max(axis=3).sum(axis=2)
        kept = np.argsort(-bound, axis=None, kind="stable")[:width]
        parent, choice = np.unravel_index(kept, bound.shape)
        types = np.concatenate([types[parent], choice[:, None]], axis=1)
        score = reached[parent, choice]
        gain = gain[parent]
        gain[:, i + 1 :] = later[parent, choice]
    return types[score.argmax()]
