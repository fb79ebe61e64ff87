"""Raw corpora -> sentences, on small documents written by hand in the formats that the corpora publish."""

import json
import re
from xml.sax.saxutils import escape

import pytest

from common.errors import UserError
from evaluations.supervised_ie import prepare
from evaluations.supervised_ie.data import read_sentences
from evaluations.supervised_ie.documents import read_source, word_spans

SGM = """<DOC>
<DOCID> AFP_ENG_20030304.0250 </DOCID>
<DOCTYPE SOURCE="newswire"> NEWS STORY </DOCTYPE>
<DATETIME> 2003-03-04 </DATETIME>
<BODY>
<HEADLINE>
Müller sacks AT&amp;T chief in São Paulo
</HEADLINE>
<TEXT>
The wife of the president of Peru's Cámara de Comercio was shot and
killed at her pro-American café on Tuesday. Dr. Anna Smith carried out an
attack with guns &amp; knives on troops, police and civilians.

He met her. They left.
</TEXT>
</BODY>
</DOC>
"""
NAME = "AFP_ENG_20030304.0250"


def charseq(text, nth=0):
    """The element for the nth occurrence of a text as it stands in the file, by its offset without tags."""
    counted = re.sub(r"<[^>]+>", "", SGM)
    start = [m.start() for m in re.finditer(re.escape(escape(text)), counted)][nth]
    return f'<charseq START="{start}" END="{start + len(escape(text)) - 1}">{escape(text)}</charseq>'


def ace_entity(number, kind, *mentions):
    """Mentions are (mention type, extent, head), the nth occurrence of each."""
    body = "".join(
        f'<entity_mention ID="E{number}-{i}" TYPE="{mention_type}" LDCTYPE="X"><extent>{charseq(*extent)}</extent>'
        f"<head>{charseq(*head)}</head></entity_mention>"
        for i, (mention_type, extent, head) in enumerate(mentions)
    )
    return f'<entity ID="E{number}" TYPE="{kind}" SUBTYPE="x" CLASS="SPC">{body}</entity>'


def ace_event(number, kind, anchor, *arguments):
    kind, subtype = kind.split(":")
    body = "".join(
        f'<event_mention_argument REFID="{ref}" ROLE="{role}"><extent>{charseq("her")}</extent>'
        "</event_mention_argument>"
        for ref, role in arguments
    )
    return (
        f'<event ID="EV{number}" TYPE="{kind}" SUBTYPE="{subtype}" MODALITY="Asserted" POLARITY="Positive" '
        f'GENERICITY="Specific" TENSE="Past"><event_argument REFID="E1" ROLE="Victim"/>'
        f'<event_mention ID="EV{number}-1">'
        f"<extent>{charseq('her')}</extent><ldc_scope>{charseq('her')}</ldc_scope><anchor>{charseq(*anchor)}</anchor>"
        f"{body}</event_mention></event>"
    )


def ace_relation(kind, head, tail):
    return (
        f'<relation ID="R" TYPE="{kind}" SUBTYPE="x"><relation_argument REFID="E" ROLE="Arg-1"/>'
        f'<relation_mention ID="R-1" LEXICALCONDITION="Verbal"><extent>{charseq("her")}</extent>'
        f'<relation_mention_argument REFID="{head}" ROLE="Arg-1"/>'
        f'<relation_mention_argument REFID="{tail}" ROLE="Arg-2"/>'
        '<relation_mention_argument REFID="T1-1" ROLE="Time-Within"/></relation_mention></relation>'
    )


def apf():
    nested = "The wife of the president of Peru's Cámara de Comercio"
    parts = [
        ace_entity(1, "PER", ("NOM", (nested,), ("wife",))),
        ace_entity(
            2,
            "PER",
            ("NOM", ("the president of Peru's Cámara de Comercio",), ("president",)),
            ("PRO", ("He",), ("He",)),
        ),
        ace_entity(3, "ORG", ("NAM", ("Peru's Cámara de Comercio",), ("Cámara de Comercio",))),
        ace_entity(4, "GPE", ("NAM", ("Peru's",), ("Peru",)), ("NAM", ("American",), ("American",))),
        ace_entity(5, "ORG", ("NAM", ("AT&T",), ("AT&T",))),
        ace_entity(6, "GPE", ("NAM", ("São Paulo",), ("São Paulo",))),
        ace_entity(7, "PER", ("NAM", ("Müller",), ("Müller",)), ("NAM", ("Dr. Anna Smith",), ("Anna Smith",))),
        ace_entity(8, "PER", ("NOM", ("troops",), ("troops",)), ("NOM", ("police",), ("police",))),
        ace_entity(9, "PER", ("NOM", ("civilians",), ("civilians",)), ("PRO", ("They",), ("They",))),
        ace_entity(10, "VEH", ("NOM", ("arrie",), ("arrie",)), ("NOM", ("2003-03-04",), ("2003-03-04",))),
        ace_relation("ORG-AFF", "E2-0", "E3-0"),
        ace_relation("PHYS", "E2-0", "E2-1"),
        ace_relation("PHYS", "E10-1", "E6-0"),
        ace_event(1, "Life:Die", ("shot and\nkilled",), ("E1-0", "Victim"), ("T1-1", "Time-Within"), ("E7-1", "Agent")),
        ace_event(
            2,
            "Conflict:Attack",
            ("carried out an\nattack",),
            ("E7-1", "Attacker"),
            ("E8-0", "Target"),
            ("E8-1", "Target"),
            ("E9-0", "Target"),
        ),
    ]
    head = '<?xml version="1.0"?>\n<!DOCTYPE source_file SYSTEM "apf.v5.1.1.dtd">\n'
    timex = f'<timex2 ID="T1"><timex2_mention ID="T1-1"><extent>{charseq("Tuesday")}</extent></timex2_mention></timex2>'
    return (
        f'{head}<source_file URI="{NAME}.sgm" SOURCE="newswire" TYPE="text" VERSION="2.0" AUTHOR="LDC">'
        f'<document DOCID="{NAME}">{"".join(parts)}{timex}</document></source_file>'
    )


@pytest.fixture
def ace(tmp_path):
    for version in ("adj", "timex2norm"):
        folder = tmp_path / "English" / "nw" / version
        folder.mkdir(parents=True)
        (folder / f"{NAME}.sgm").write_text(SGM, encoding="utf-8")
        (folder / f"{NAME}.apf.xml").write_text("<other/>" if version == "adj" else apf(), encoding="utf-8")
    (tmp_path / "train.txt").write_text(NAME + "\n")
    return tmp_path


def run_on(root, corpus="ace", source="English", splits=("train",)):
    lists = [part for split in splits for part in (f"--{split}", str(root / f"{split}.txt"))]
    prepare.main([corpus, "--input", str(root / source), "--output", str(root / "out"), *lists])
    report = json.loads((root / "out" / "alignment.json").read_text())
    return {split: read_sentences(root / "out" / f"{split}.oneie.jsonl") for split in splits}, {
        reason: line["count"] for reason, line in report.items()
    }


def shown(sentence):
    text = [" ".join(sentence.tokens[e.start : e.end]) for e in sentence.entities]
    return {
        "tokens": " ".join(sentence.tokens),
        "entities": sorted((t, e.type, e.mention_type) for t, e in zip(text, sentence.entities, strict=True)),
        "relations": [(r.type, text[r.head], text[r.tail]) for r in sentence.relations],
        "events": [
            (" ".join(sentence.tokens[e.start : e.end]), e.type, [(text[a], role) for a, role in e.arguments])
            for e in sentence.events
        ],
    }


def test_offsets_count_the_file_without_its_tags():
    counted, paragraphs = read_source("<DOC>\n<TEXT>\na &amp; b\n\nc\n</TEXT>\n", tags_count=False)
    assert counted == "\n\na &amp; b\n\nc\n\n"
    assert [p.text.strip() for p in paragraphs] == ["a & b", "c"]
    first = paragraphs[0]
    at = {c: (s, e) for c, s, e in zip(first.text, first.starts, first.ends, strict=True) if c.strip()}
    assert at == {"a": (2, 3), "&": (4, 9), "b": (10, 11)}
    counted, (with_tags,) = read_source("<DOC>&lt;é<a href='x'>f</a></DOC>", tags_count=True)
    assert counted == "<DOC>&lt;é<a href='x'>f</a></DOC>"
    assert with_tags.text == "<éf"
    assert with_tags.starts == [5, 9, 22]


def test_quotes_and_headers_are_left_out_and_an_unclosed_quote_swallows_nothing():
    post = "<DOC><DATETIME>2005</DATETIME><POST><QUOTE a='1'>{}</QUOTE> ours</POST></DOC>"
    _, paragraphs = read_source(post.format("theirs <quote>older</quote> more"), tags_count=True)
    assert [p.text.strip() for p in paragraphs] == ["ours"]
    _, paragraphs = read_source("<POST><QUOTE PREVIOUSPOST='x'> ours</POST><QUOTE b='y'/> too", tags_count=False)
    assert [p.text.strip() for p in paragraphs] == ["ours", "too"]


def test_words_have_the_offsets_of_the_text():
    for text in (
        'He said "no" and left.',
        "a pro-American, U.S.-led raid",
        "``x'' \"y\" '''z''' \"",
        "don't 10/12 é—ü",
    ):
        words = [text[a:b] for a, b in word_spans(text)]
        assert "".join(words) == "".join(text.split())
    assert ["pro-U.S. café"[a:b] for a, b in word_spans("pro-U.S. café")] == ["pro", "-", "U.S.", "café"]


def test_ace(ace):
    splits, counts = run_on(ace)
    headline, shooting, attack, met, left = map(shown, splits["train"])
    assert headline == {
        "tokens": "Müller sacks AT & T chief in São Paulo",
        "entities": [("AT & T", "ORG", "NAM"), ("Müller", "PER", "NAM"), ("São Paulo", "GPE", "NAM")],
        "relations": [],
        "events": [],
    }
    assert shooting["tokens"].startswith(
        "The wife of the president of Peru 's Cámara de Comercio was shot and killed at"
    )
    assert shooting["entities"] == [
        ("American", "GPE", "NAM"),
        ("Cámara de Comercio", "ORG", "NAM"),
        ("Peru", "GPE", "NAM"),
        ("president", "PER", "NOM"),
        ("wife", "PER", "NOM"),
    ]
    assert shooting["relations"] == [("ORG-AFF", "president", "Cámara de Comercio")]
    assert shooting["events"] == [("shot and killed", "Life:Die", [("wife", "Victim")])]
    assert attack["tokens"].startswith("Dr. Anna Smith carried out an attack with guns & knives on")
    assert attack["events"] == [
        (
            "carried out an attack",
            "Conflict:Attack",
            [("Anna Smith", "Attacker"), ("troops", "Target"), ("police", "Target"), ("civilians", "Target")],
        )
    ]
    assert (met["tokens"], met["entities"]) == ("He met her .", [("He", "PER", "PRO")])
    assert (left["tokens"], left["entities"]) == ("They left .", [("They", "PER", "PRO")])
    assert counts == {
        "entity widened to whole words": 1,  # "arrie" in "carried"
        "entity outside the running text": 1,  # the date in the header
        "relation across sentences": 1,
        "relation of an entity that was not aligned": 1,
        "argument that is a time or a value": 1,
        "argument in another sentence": 1,
    }


def test_what_does_not_fit_the_text_or_the_ids_is_counted_by_reason(ace):
    path = ace / "English" / "nw" / "timex2norm" / f"{NAME}.apf.xml"
    changed = path.read_text().replace(">Müller<", ">Miller<")
    changed = changed.replace(charseq("They"), '<charseq START="90000" END="90003">They</charseq>')
    changed = changed.replace(charseq("He"), '<charseq START="-9" END="-8">He</charseq>')
    changed = changed.replace('REFID="E8-1" ROLE="Target"', 'REFID="NOPE-9" ROLE="Target"')
    path.write_text(changed.replace('REFID="E3-0" ROLE="Arg-2"', 'REFID="NOPE-8" ROLE="Arg-2"'))
    splits, counts = run_on(ace)
    assert counts["entity whose text is not at its offsets"] == 1
    assert counts["entity whose offsets leave the document"] == 2
    assert counts["argument of an unknown id"] == counts["relation with an unknown id"] == 1
    assert counts["argument that is a time or a value"] == 1
    assert ("Müller", "PER", "NAM") not in shown(splits["train"][0])["entities"]
    report = json.loads((ace / "out" / "alignment.json").read_text())
    assert report["argument of an unknown id"]["first"] == f"{path}: Target NOPE-9 of 'carried out an\\nattack'"


def test_annotated_text_may_repeat_the_escapes_of_the_file(ace):
    """Some annotation tools copy the file's characters: `AT&amp;T` once more escaped for XML."""
    path = ace / "English" / "nw" / "timex2norm" / f"{NAME}.apf.xml"
    assert ">AT&amp;T<" in path.read_text()
    path.write_text(path.read_text().replace(">AT&amp;T<", ">AT&amp;amp;T<"))
    splits, counts = run_on(ace)
    assert ("AT & T", "ORG", "NAM") in shown(splits["train"][0])["entities"]
    assert "entity whose text is not at its offsets" not in counts


def test_an_ampersand_that_begins_no_escape_is_a_character():
    counted, (paragraph,) = read_source("<P>R&D; sued AT&amp;T</P>", tags_count=False)
    assert paragraph.text == "R&D; sued AT&T" and counted == "R&D; sued AT&amp;T"
    assert paragraph.starts == [*range(13), 17] and paragraph.ends == [*range(1, 13), 17, 18]


ERE_SOURCE = """<?xml version="1.0" encoding="utf-8"?>
<doc id="ENG_DF_1">
<headline>
Rebels &amp; army clash near Alëppo
</headline>
<post author="bob" datetime="2014-05-01T00:00:00" id="p1">
<quote orig_author="eve">
Old words of Obama here.
</quote>
The rebel leader's tanks took a <a href="http://x.org/Obama">town</a> from Syria. She bought him a car.
</post>
</doc>
"""


def ere_at(text, nth=0):
    start = [m.start() for m in re.finditer(re.escape(escape(text)), ERE_SOURCE)][nth]
    return f'source="ENG_DF_1" offset="{start}" length="{len(escape(text))}"'


def ere_entity(number, kind, *mentions):
    """Mentions are (noun type, text, nth occurrence, nominal head or None)."""
    body = ""
    for i, (noun_type, text, nth, head) in enumerate(mentions):
        nominal = f"<nom_head {ere_at(head)}>{escape(head)}</nom_head>" if head else ""
        body += (
            f'<entity_mention id="m-{number}-{i}" noun_type="{noun_type}" {ere_at(text, nth)}>'
            f"<mention_text>{escape(text)}</mention_text>{nominal}</entity_mention>"
        )
    return f'<entity id="ent-{number}" type="{kind}" specificity="specific">{body}</entity>'


def rich_ere():
    entities = [
        ere_entity(
            1, "PER", ("NOM", "Rebels", 0, "Rebels"), ("NOM", "The rebel leader", 0, "leader"), ("PRO", "She", 0, None)
        ),
        ere_entity(2, "ORG", ("NOM", "army", 0, "army")),
        ere_entity(3, "GPE", ("NAM", "Alëppo", 0, None), ("NOM", "town", 0, "town"), ("NAM", "Syria", 0, None)),
        ere_entity(4, "PER", ("NAM", "Obama", 0, None), ("NAM", "bob", 0, None), ("PRO", "him", 0, None)),
    ]
    fillers = (
        f'<filler id="f-1" {ere_at("tanks")} type="vehicle">tanks</filler>'
        f'<filler id="f-2" {ere_at("near")} type="title">near</filler>'
    )
    relations = (
        '<relation id="r-1" type="partwhole" subtype="subsidiary"><relation_mention id="rm-1" realis="true">'
        '<rel_arg1 entity_id="ent-3" entity_mention_id="m-3-1" role="part">town</rel_arg1>'
        '<rel_arg2 entity_id="ent-3" entity_mention_id="m-3-2" role="whole">Syria</rel_arg2>'
        "</relation_mention></relation>"
        '<relation id="r-2" type="generalaffiliation" subtype="title"><relation_mention id="rm-2" realis="true">'
        '<rel_arg1 entity_id="ent-1" entity_mention_id="m-1-1" role="person">x</rel_arg1>'
        '<rel_arg2 filler_id="f-2" role="title">near</rel_arg2></relation_mention></relation>'
    )
    events = (
        '<hopper id="h-1"><event_mention id="em-1" type="conflict" subtype="attack" realis="actual" ere="x">'
        f"<trigger {ere_at('clash')}>clash</trigger>"
        '<em_arg entity_id="ent-1" entity_mention_id="m-1-0" role="attacker" realis="true">Rebels</em_arg>'
        '<em_arg entity_id="ent-2" entity_mention_id="m-2-0" role="attacker" realis="true">army</em_arg>'
        '<em_arg entity_id="ent-3" entity_mention_id="m-3-0" role="place" realis="true">x</em_arg>'
        '<em_arg filler_id="f-2" role="time" realis="true">near</em_arg></event_mention></hopper>'
        '<hopper id="h-2"><event_mention id="em-2" type="transaction" subtype="transferownership" realis="actual">'
        f"<trigger {ere_at('bought')}>bought</trigger>"
        '<em_arg entity_id="ent-4" entity_mention_id="m-4-2" role="recipient" realis="true">him</em_arg>'
        '</event_mention><event_mention id="em-3" type="conflict" subtype="attack" realis="actual">'
        f"<trigger {ere_at('took')}>took</trigger>"
        '<em_arg filler_id="f-1" role="instrument" realis="true">tanks</em_arg></event_mention></hopper>'
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<deft_ere kit_id="k" doc_id="ENG_DF_1" source_type="multi_post">'
        f"<entities>{''.join(entities)}</entities><fillers>{fillers}</fillers>"
        f"<relations>{relations}</relations><hoppers>{events}</hoppers></deft_ere>"
    )


def test_rich_ere(tmp_path):
    for folder in ("source", "ere"):
        (tmp_path / "LDC" / folder).mkdir(parents=True)
    (tmp_path / "LDC" / "source" / "ENG_DF_1.mpdf.xml").write_text(ERE_SOURCE, encoding="utf-8")
    (tmp_path / "LDC" / "ere" / "ENG_DF_1.rich_ere.xml").write_text(rich_ere(), encoding="utf-8")
    (tmp_path / "dev.txt").write_text("ENG_DF_1")
    splits, counts = run_on(tmp_path, "ere", "LDC", ["dev"])
    headline, taken, bought = map(shown, splits["dev"])
    assert headline == {
        "tokens": "Rebels & army clash near Alëppo",
        "entities": [("Alëppo", "GPE", "NAM"), ("Rebels", "PER", "NOM"), ("army", "ORG", "NOM")],
        "relations": [],
        "events": [
            ("clash", "conflict:attack", [("Rebels", "attacker"), ("army", "attacker"), ("Alëppo", "place")]),
        ],
    }
    assert taken == {
        "tokens": "The rebel leader 's tanks took a town from Syria .",
        "entities": [
            ("Syria", "GPE", "NAM"),
            ("leader", "PER", "NOM"),
            ("tanks", "VEH", "NOM"),
            ("town", "GPE", "NOM"),
        ],
        "relations": [("partwhole", "town", "Syria")],
        "events": [("took", "conflict:attack", [("tanks", "instrument")])],
    }
    annotation = tmp_path / "LDC" / "ere" / "ENG_DF_1.rich_ere.xml"
    lost = rich_ere().replace('entity_mention_id="m-2-0" role="attacker"', 'entity_mention_id="m-9" role="attacker"')
    annotation.write_text(lost.replace('entity_mention_id="m-3-1"', 'entity_mention_id="m-8"'), encoding="utf-8")
    _, lost_counts = run_on(tmp_path, "ere", "LDC", ["dev"])
    assert lost_counts == {**counts, "argument of an unknown id": 1, "relation with an unknown id": 1}
    (tmp_path / "LDC" / "elsewhere").mkdir()
    (tmp_path / "LDC" / "elsewhere" / "ENG_DF_1.mpdf.xml").write_text("<doc>other</doc>")
    with pytest.raises(UserError, match=r"the text of .*ENG_DF_1\.rich_ere\.xml is there twice"):
        run_on(tmp_path, "ere", "LDC", ["dev"])
    assert bought["events"] == [("bought", "transaction:transferownership", [("him", "recipient")])]
    assert counts == {
        "entity outside the running text": 2,  # in a quoted post, and the author's name in a tag
        "relation with a filler": 1,
        "argument that is a filler": 1,
    }


def test_dygiepp(tmp_path, capsys):
    document = {
        "doc_key": "d",
        "sentences": [["Nothing", "."], ["Anna", "Smith", "shot", "dead", "Bob", "in", "Lima", "in", "May"]],
        "ner": [[], [[2, 3, "PER"], [6, 6, "PER"], [8, 8, "GPE"]]],
        "relations": [[], [[6, 6, 8, 8, "PHYS"], [10, 10, 8, 8, "PHYS"]]],
        "events": [
            [],
            [
                [[4, 5, "Life.Die"], [2, 3, "Agent"], [6, 6, "Victim"], [10, 10, "Time-Within"]],
                [[4, "Conflict.Attack"], [6, 6, "Target"]],
            ],
        ],
    }
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.json").write_text(
        json.dumps(document) + "\n" + json.dumps({"doc_key": "e", "sentences": [[], ["x"]]})
    )
    splits, counts = run_on_dygiepp(tmp_path)
    empty, full, other = splits
    assert (empty.entities, empty.events, other.doc_id) == ([], [], "e")
    assert shown(full)["relations"] == [("PHYS", "Bob", "Lima")]
    assert shown(full)["events"] == [
        ("shot dead", "Life:Die", [("Anna Smith", "Agent"), ("Bob", "Victim")]),
        ("shot", "Conflict:Attack", [("Bob", "Target")]),
    ]
    assert counts == {
        "relation between words that are not two entities": 1,
        "argument that is no entity": 1,
        "sentence without words": 1,
    }
    document["ner"][1][0] = [2, 30, "PER"]
    (tmp_path / "in" / "dev.json").write_text(
        json.dumps(document) + "\n{\n" + json.dumps({"doc_key": "e", "sentences": [["x", " "]]})
    )
    message = r"3 broken lines: .*dev\.json, line 1: .*\[2, 30\] is not in the words.*line 2: .*line 3: .*`tokens`"
    with pytest.raises(UserError, match=message):
        run_on_dygiepp(tmp_path)
    (tmp_path / "in" / "dev.json").write_text(json.dumps({"doc_key": "e", "sentences": []}))
    with pytest.raises(UserError, match="the documents of dev hold no sentence"):
        run_on_dygiepp(tmp_path)


def run_on_dygiepp(root):
    prepare.main(["dygiepp", "--input", str(root / "in"), "--output", str(root / "out")])
    report = json.loads((root / "out" / "alignment.json").read_text())
    counts = {reason: line["count"] for reason, line in report.items()}
    return read_sentences(root / "out" / "train.oneie.jsonl"), counts


def test_mistakes_are_named_and_nothing_is_written(ace):
    folder = ace / "English" / "nw" / "timex2norm"
    good = (folder / f"{NAME}.apf.xml").read_text()
    for content, message in (
        ("<a>\n<b>\n</a>", r"1 broken files: .*apf\.xml, line 3: not XML"),
        (good.replace(' TYPE="ORG"', ""), r"1 broken files: .*apf\.xml: not of the format: KeyError 'TYPE'"),
        (re.sub(r' START="\d+"', ' START="x"', good), "not of the format: ValueError"),
        (re.sub("(?s)<anchor>.*?</anchor>", "", good), "not of the format: AttributeError"),
        (good.replace('ID="E1-0"', 'ID="E5-0"'), "not of the format: ValueError 2 mentions have the id E5-0"),
        (good.replace('TYPE="ORG"', 'TYPE=""'), "not of the format: ValueError the mention E3-0 has no type"),
        (good.replace("<?xml version", '<?xml encoding="foo" version'), "not XML|not of the format"),
        (good.replace('"1.0"?>', '"1.0" encoding="foo"?>', 1), "not of the format: LookupError"),
    ):
        (folder / f"{NAME}.apf.xml").write_text(content)
        with pytest.raises(UserError, match=message):
            run_on(ace)
    (folder / f"{NAME}.apf.xml").write_text(good)
    (folder / f"{NAME}.sgm").unlink()
    with pytest.raises(UserError, match=r"250\.sgm cannot be read"):
        run_on(ace)
    (ace / "dev.txt").write_text("\nNO_SUCH\n")
    with pytest.raises(UserError, match=r"dev\.txt, line 2: no document NO_SUCH in"):
        run_on(ace, splits=("train", "dev"))
    (ace / "dev.txt").write_text(NAME)
    with pytest.raises(UserError, match=r"dev\.txt, line 1: the document .* is listed already, in train"):
        run_on(ace, splits=("train", "dev"))
    (ace / "English" / f"{NAME}.apf.xml").write_text(good)
    (ace / "English" / "nw" / "timex2norm").rename(ace / "English" / "nw" / "fp1")
    with pytest.raises(UserError, match="is there twice"):
        run_on(ace)
    assert not (ace / "out").exists()


def test_documents_in_no_list_are_counted(ace):
    folder = ace / "English" / "nw" / "timex2norm"
    (folder / "OTHER.apf.xml").write_text("<source_file/>")
    _, counts = run_on(ace)
    assert counts["document in no list"] == 1
