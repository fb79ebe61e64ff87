"""Entities and their counts, by hand."""

from evaluations.few_shot.scores import entities, entity_counts, total


def test_adjacent_words_of_one_label_are_one_entity():
    assert entities(["a-x", "a-x", "O", "a-x", "b-y", "b-y"]) == {(0, 2, "a-x"), (3, 4, "a-x"), (4, 6, "b-y")}
    assert entities(["O"]) == entities([]) == set()


def test_full_counts():
    gold = [["location-other", "location-other", "O", "person-actor"], ["O", "person-actor"]]
    predicted = [["location-other", "O", "O", "person-actor"], ["person-actor", "person-actor"]]
    counts = entity_counts(gold, predicted)
    assert counts == {"location-other": [0, 1, 1], "person-actor": [1, 2, 2]}
    assert total(counts).tolist() == [1, 3, 3]
    assert total({}).tolist() == [0, 0, 0]


def test_published_counts_cut_the_label_at_its_first_hyphen():
    gold = [["location-other", "organization-other", "O", "a-b-c"]]
    predicted = [["organization-other", "organization-other", "O", "x-b-c"]]
    assert entity_counts(gold, predicted, "published") == {"other": [1, 1, 1], "b-c": [1, 1, 1]}
    assert total(entity_counts(gold, predicted)).tolist() == [0, 2, 3]
