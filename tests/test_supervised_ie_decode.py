"""The graph decoder against brute force over every graph, valid or not."""

from itertools import product

import numpy as np
import pytest

from evaluations.supervised_ie.data import Sentence
from evaluations.supervised_ie.decode import GraphDecoder, LocalScores, beam_search
from evaluations.supervised_ie.labels import Labels

LABELS = Labels(
    entity_types=["GPE", "PER"],
    mention_types=[],
    event_types=["Attack", "Meet"],
    relation_types=["At", "SOC"],
    roles=["Entity", "Place"],
    symmetric_relations=["SOC"],
    event_role={"Attack": ["Place"], "Meet": ["Entity", "Place"]},
    relation_entity={"At": ["GPE", "PER"], "SOC": ["PER"]},
    role_entity={"Entity": ["PER"], "Place": ["GPE"]},
)


def random_scores(generator, n, m):
    def log_probabilities(*shape):
        logits = generator.normal(size=shape) * 1.5
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    return LocalScores(
        entity_spans=[(i, i + 1) for i in range(n)],
        trigger_spans=[(n + i, n + i + 1) for i in range(m)],
        entities=log_probabilities(n, 2),
        mentions=np.zeros((n, 1)),
        events=log_probabilities(m, 2),
        relations=log_probabilities(n, n, 3),
        roles=log_probabilities(m, n, 3),
    )


def score(s, entity, event, relation, role):
    """Relation is {(i, j): label of i -> j, for all i != j}; role is {(t, e): label}."""
    total = sum(s.entities[i, t] for i, t in enumerate(entity)) + sum(s.events[i, t] for i, t in enumerate(event))
    total += sum(s.relations[i, j, r] for (i, j), r in relation.items())
    return total + sum(s.roles[t, e, r] for (t, e), r in role.items())


def valid(entity, event, relation, role):
    at, soc, gpe, per = 1, 2, 0, 1
    for (i, j), r in relation.items():
        back = relation[j, i]
        if r == at and back != 0:  # one relation between two entities
            return False
        if r == soc and (back != soc or entity[i] != per or entity[j] != per):
            return False
    plays, place, meet = 1, 2, 1
    for (t, e), r in role.items():
        if r == plays and (event[t] != meet or entity[e] != per):
            return False
        if r == place and entity[e] != gpe:
            return False
    return True


def brute_force(s):
    n, m = len(s.entity_spans), len(s.trigger_spans)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    slots = [(t, e) for t in range(m) for e in range(n)]
    best = None
    for entity in product(range(2), repeat=n):
        for event in product(range(2), repeat=m):
            for relations in product(range(3), repeat=len(pairs)):
                relation = dict(zip(pairs, relations, strict=True))
                for roles in product(range(3), repeat=len(slots)):
                    role = dict(zip(slots, roles, strict=True))
                    if valid(entity, event, relation, role):
                        total = score(s, entity, event, relation, role)
                        if best is None or total > best[0]:
                            best = total, entity, event, relation, role
    return best


def as_choices(sentence, n, m):
    entity = tuple(LABELS.entity_types.index(e.type) for e in sentence.entities)
    event = tuple(LABELS.event_types.index(e.type) for e in sentence.events)
    relation = {(i, j): 0 for i in range(n) for j in range(n) if i != j}
    for r in sentence.relations:
        relation[r.head, r.tail] = 1 + LABELS.relation_types.index(r.type)
        if r.type == "SOC":
            relation[r.tail, r.head] = 2
    role = {(t, e): 0 for t in range(m) for e in range(n)}
    for t, e in enumerate(sentence.events):
        for entity_position, name in e.arguments:
            role[t, entity_position] = 1 + LABELS.roles.index(name)
    return entity, event, relation, role


@pytest.mark.parametrize(("n", "m", "times"), [(2, 1, 60), (2, 2, 8), (3, 0, 8), (1, 2, 30), (0, 2, 3), (2, 0, 40)])
def test_decoded_graph_is_the_best_valid_one(n, m, times):
    generator = np.random.default_rng(n * 10 + m)
    coupled = 0
    for _ in range(times):
        s = random_scores(generator, n, m)
        words = Sentence("d", "s", ["w"] * (n + m), [], [], [])
        total, *expected = brute_force(s)
        found = as_choices(GraphDecoder(LABELS)(words, s), n, m)
        assert valid(*found)
        assert score(s, *found) == pytest.approx(total)
        assert list(found) == expected
        coupled += expected[0] != tuple(s.entities.argmax(axis=1)) or expected[1] != tuple(s.events.argmax(axis=1))
    if n and n + m > 1 and times > 8:
        assert coupled  # patterns did change somebody's own best type, so the search was put to the test


def test_nothing_found_is_an_empty_graph():
    generator = np.random.default_rng(0)
    sentence = Sentence("d", "s", ["w"])
    assert GraphDecoder(LABELS)(sentence, random_scores(generator, 0, 0)) == sentence


def test_a_wide_beam_is_exact_and_ten_nearly_always():
    generator = np.random.default_rng(1)
    exact = 0
    for _ in range(50):
        n, types = 6, 3
        node, half = generator.normal(size=(n, types)), generator.normal(size=(n, n, types, types))
        edge = half + half.transpose(1, 0, 3, 2)

        def total(path, node=node, edge=edge):
            pairs = sum(edge[i, j, path[i], path[j]] for i in range(len(path)) for j in range(i))
            return sum(node[i, t] for i, t in enumerate(path)) + pairs

        best = max(product(range(types), repeat=n), key=total)
        assert tuple(beam_search(node, edge, width=types**n).tolist()) == best
        exact += tuple(beam_search(node, edge, width=10).tolist()) == best
    assert exact >= 45
