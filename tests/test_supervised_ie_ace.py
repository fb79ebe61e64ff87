"""ACE 2005 -> sentences, on a small document written by hand in the format that the corpus publishes."""

import json
import re
from xml.sax.saxutils import escape

import pytest
from supervised_ie_cases import run_prepare, shown

from common.errors import UserError

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


def test_ace(ace):
    splits, counts = run_prepare(ace, "ace", "English", ("train",))
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
        "relation whose argument was not aligned": 1,
        "argument that is no entity": 1,
        "argument in another sentence": 1,
    }


def test_what_does_not_fit_the_text_or_the_ids_is_counted_by_reason(ace):
    path = ace / "English" / "nw" / "timex2norm" / f"{NAME}.apf.xml"
    changed = path.read_text().replace(">Müller<", ">Miller<")
    changed = changed.replace(charseq("They"), '<charseq START="90000" END="90003">They</charseq>')
    changed = changed.replace(charseq("He"), '<charseq START="-9" END="-8">He</charseq>')
    changed = changed.replace('REFID="E8-1" ROLE="Target"', 'REFID="NOPE-9" ROLE="Target"')
    path.write_text(changed.replace('REFID="E3-0" ROLE="Arg-2"', 'REFID="NOPE-8" ROLE="Arg-2"'))
    splits, counts = run_prepare(ace, "ace", "English", ("train",))
    assert counts["entity whose text is not at its offsets"] == 1
    assert counts["entity whose offsets leave the document"] == 2
    assert counts["argument that has an unknown id"] == counts["relation whose argument has an unknown id"] == 1
    assert counts["argument that is no entity"] == 1
    assert ("Müller", "PER", "NAM") not in shown(splits["train"][0])["entities"]
    report = json.loads((ace / "out" / "alignment.json").read_text())
    assert report["argument that has an unknown id"]["first"] == f"{path}: Target NOPE-9 of 'carried out an\\nattack'"


def test_annotated_text_may_repeat_the_escapes_of_the_file(ace):
    """Some annotation tools copy the file's characters: `AT&amp;T` once more escaped for XML."""
    path = ace / "English" / "nw" / "timex2norm" / f"{NAME}.apf.xml"
    assert ">AT&amp;T<" in path.read_text()
    path.write_text(path.read_text().replace(">AT&amp;T<", ">AT&amp;amp;T<"))
    splits, counts = run_prepare(ace, "ace", "English", ("train",))
    assert ("AT & T", "ORG", "NAM") in shown(splits["train"][0])["entities"]
    assert "entity whose text is not at its offsets" not in counts


def test_mistakes_are_named_and_nothing_is_written(ace):
    folder = ace / "English" / "nw" / "timex2norm"
    good = (folder / f"{NAME}.apf.xml").read_text()
    for content, message in (
        ("<a>\n<b>\n</a>", r"1 broken files: .*apf\.xml, line 3: not XML"),
        (good.replace(' TYPE="ORG"', ""), r"1 broken files: .*apf\.xml: not of the format: KeyError 'TYPE'"),
        (re.sub(r' START="\d+"', ' START="x"', good), "not of the format: ValueError"),
        (
            re.sub("(?s)<anchor>.*?</anchor>", "", good),
            "not of the format: LookupError <event_mention> without <anchor/charseq>",
        ),
        (good.replace('ID="E1-0"', 'ID="E5-0"'), "not of the format: ValueError two mentions have the id E5-0"),
        (good.replace('TYPE="ORG"', 'TYPE=""'), "not of the format: ValueError the mention E3-0 has no type"),
        (good.replace('"1.0"?>', '"1.0" encoding="foo"?>', 1), "not of the format: LookupError"),
    ):
        (folder / f"{NAME}.apf.xml").write_text(content)
        with pytest.raises(UserError, match=message):
            run_prepare(ace, "ace", "English", ("train",))
    (folder / f"{NAME}.apf.xml").write_text(good)
    (folder / f"{NAME}.sgm").unlink()
    with pytest.raises(UserError, match=r"250\.sgm cannot be read"):
        run_prepare(ace, "ace", "English", ("train",))
    (ace / "dev.txt").write_text("\nNO_SUCH\n")
    with pytest.raises(UserError, match=r"dev\.txt, line 2: no document NO_SUCH in"):
        run_prepare(ace, "ace", "English", ("train", "dev"))
    (ace / "dev.txt").write_text(NAME)
    with pytest.raises(UserError, match=r"dev\.txt, line 1: the document .* is listed already, in train"):
        run_prepare(ace, "ace", "English", ("train", "dev"))
    (ace / "English" / f"{NAME}.apf.xml").write_text(good)
    (ace / "English" / "nw" / "timex2norm").rename(ace / "English" / "nw" / "fp1")
    with pytest.raises(UserError, match="is there twice"):
        run_prepare(ace, "ace", "English", ("train",))
    assert not (ace / "out").exists()


def test_documents_in_no_list_are_counted(ace):
    folder = ace / "English" / "nw" / "timex2norm"
    (folder / "OTHER.apf.xml").write_text("<source_file/>")
    _, counts = run_prepare(ace, "ace", "English", ("train",))
    assert counts["document in no list"] == 1


def test_chinese_is_split_into_letters_to_which_its_mentions_are_aligned(tmp_path):
    (tmp_path / "in").mkdir()
    text = "<DOC><DOCID>zh</DOCID><TEXT>安娜在北京加入iPhone公司。她走了。</TEXT></DOC>"  # 安 is the character 2
    (tmp_path / "in" / "zh.sgm").write_text(text, encoding="utf-8")

    def at(start, end, words):
        return f'<charseq START="{start}" END="{end}">{words}</charseq>'

    entities = "".join(
        f'<entity TYPE="{kind}"><entity_mention ID="{kind}" TYPE="NAM"><head>{at(*where)}</head></entity_mention>'
        "</entity>"
        for kind, *where in (("PER", 2, 3, "安娜"), ("GPE", 5, 6, "北京"), ("ORG", 9, 16, "iPhone公司"))
    )
    event = (
        f'<event TYPE="Personnel" SUBTYPE="Start-Position"><event_mention ID="E"><anchor>{at(7, 8, "加入")}</anchor>'
        '<event_mention_argument REFID="ORG" ROLE="Entity"/></event_mention></event>'
    )
    (tmp_path / "in" / "zh.apf.xml").write_text(f"<x>{entities}{event}</x>", encoding="utf-8")
    (tmp_path / "train.txt").write_text("zh\n")
    splits, counts = run_prepare(tmp_path, "ace", "in", ("train",))
    first, second = splits["train"]
    assert counts == {}
    assert shown(first) == {
        "tokens": "安 娜 在 北 京 加 入 iPhone 公 司 。",
        "entities": [("iPhone 公 司", "ORG", "NAM"), ("北 京", "GPE", "NAM"), ("安 娜", "PER", "NAM")],
        "relations": [],
        "events": [("加 入", "Personnel:Start-Position", [("iPhone 公 司", "Entity")])],
    }
    assert shown(second)["tokens"] == "她 走 了 。"
