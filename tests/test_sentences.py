"""Where sentences end, against some counted by hand."""

import os
from pathlib import Path

import pytest
from prepare_cases import SENTENCES, prepared, sentences_of

import data.bundled
import data.sentences
from common.errors import UserError
from data.prepare import prepare

SHARED = Path(__file__).resolve().parents[2] / "shared"


def test_sentences_counted_by_hand(tmp_path):
    text = " ".join(SENTENCES[:5]) + "\n\n" + " ".join(SENTENCES[5:]) + "\n"
    assert prepared(tmp_path, text) == SENTENCES


SCRIPTS = {  # what joins the sentences, the sentences
    "Chinese": (
        "",
        [
            "周一总统会见了部长。",
            "“叛军袭击了城镇。”",
            "他说：「我们会再来。」",
            "为什么？！",
            "真的!",
            "价格是3.5元，或３．５元……",
        ],
    ),
    "Chinese, straight quotes": ("", ['他说:"我来。",然后走了。', '"你好!"', "她笑了?", '"好。"', "他走了."]),
    "Japanese": (
        "",
        [
            "大統領は大臣と会談した。",
            "「反乱軍が来た。」と言った。",
            "本当ですか？",
            "（調査は続く．）",
            "第１．概要です｡",
        ],
    ),
    "Hindi": (" ", ["राष्ट्रपति ने मंत्री से मुलाकात की।", "'पुलिस ने दो लोगों को पकड़ा।'", '"क्या यह सच है?"', "सत्यमेव जयते नानृतम्॥"]),
    "Bengali, no spaces": ("", ["পুলিশ দুজনকে আটক করেছে।", "কেউ আহত হয়নি।"]),
    "Arabic": (" ", ["هل هاجم المتمردون المدينة؟", "اعتقلت الشرطة رجلين.", "«هل هذا صحيح؟!»", "لا أحد يعرف السبب!"]),
    "Urdu": (
        " ",
        ["صدر نے وزیر سے ملاقات کی۔", "اس نے ایم۔اے کیا ہے۔", "کیا یہ سچ ہے؟", "”پولیس نے دو افراد کو پکڑا۔“"],
    ),
    "Burmese": (" ", ["သမ္မတသည် ဝန်ကြီးနှင့်၊ တွေ့ဆုံခဲ့သည်။", "ရဲက လူနှစ်ဦးကို ဖမ်းဆီးခဲ့သည်။"]),
    "Amharic": (" ", ["ፕሬዝዳንቱ ሚኒስትሩን ዛሬ አገኙ።", "ፖሊስ ሁለት ሰዎችን አሰረ፡፡", "ይህ ማን ነው፧"]),
    "Armenian": (" ", ["Նախագահը հանդիպեց նախարարին։", "Ոստիկանությունը ձերբակալեց երկու մարդու։"]),
    "Khmer": ("", ["ប្រធានាធិបតីបានជួបរដ្ឋមន្ត្រី។", "ប៉ូលីសបានចាប់បុរស ស្ត្រី ។ល។ នៅថ្ងៃនេះ។"]),
    "Tibetan": (" ", ["སྲིད་འཛིན་གྱིས་བློན་ཆེན་ལ་ཐུག་འཕྲད་བྱས།", "ཉེན་རྟོག་པས་མི་གཉིས་འཛིན་བཟུང་བྱས་སོ།། །།"]),
    "Greek": (" ", ["Ποιος επιτέθηκε στην πόλη;", "«Γιατί;»", "Η αστυνομία συνέλαβε δύο άνδρες."]),
    "several": (
        " ",
        ["The president met Dr. Wu in Paris.", "周一总统会见了部长。", "“Is this true?”", "هل هذا صحيح جدا؟"],
    ),
}


@pytest.mark.parametrize(("between", "expected"), SCRIPTS.values(), ids=SCRIPTS)
def test_full_stops_of_many_scripts(tmp_path, between, expected):
    assert prepared(tmp_path, between.join(expected) + "\n", min_words=1) == expected


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("The U.S. – “a land” – is it .", 9),  # what stands between spaces
        ("总统会见了部长。", 7),
        ("他用iPhone 15 手机。", 2 + 1 + 2),
        ("東京タワーに行く。", 7),  # the mark of length is none
        ("대통령은 장관을 만났다.", 3),
        ("ตำรวจจับคน", 8),  # the consonants
        ("ရဲက ဖမ်းသည်။", 6),
    ],
)
def test_words(sentence, words):
    assert data.sentences.count_words(sentence) == words


def test_text_without_sentence_ends_is_named(tmp_path):
    raw = tmp_path / "raw.txt"
    thai = "ประธานาธิบดีพบรัฐมนตรี ตำรวจจับชายสองคน"
    raw.write_text(f"{thai}\nตำรวจจับชายสองคน\n{'and then he said so ' * 41}\nOne two three.\n")
    summary = prepare([raw], tmp_path / "out.txt")
    assert len(sentences_of(tmp_path / "out.txt")) == 4  # nothing is lost
    assert str(summary).splitlines()[-1] == (
        "2 lines may be several sentences: over 200 words, or Thai or Lao, which mark no ends; divide them beforehand, "
        "or train with --long_lines split"
    )


def test_text_that_punkt_would_take_minutes_for(monkeypatch, tmp_path):
    redos = pytest.importorskip("nltk.redos", reason="this nltk has no time limit")
    monkeypatch.setattr(redos, "DEFAULT_TIMEOUT", 0.05)  # seconds; nltk's own is 5
    (tmp_path / "raw.txt").write_bytes(b"One two three.\n" + b"! " * 499_000)
    with pytest.raises(UserError, match=r"raw\.txt, line 2: Punkt cannot split"):
        prepare([tmp_path / "raw.txt"], tmp_path / "out.txt")
    assert os.listdir(tmp_path) == ["raw.txt"]


def test_punkt_learns_from_the_beginning_only(monkeypatch, tmp_path):
    read = []
    train = data.sentences.PunktTrainer.train
    monkeypatch.setattr(data.sentences, "LEARN_FROM", 2000)
    monkeypatch.setattr(data.sentences, "LEARN_AT_ONCE", 500)
    monkeypatch.setattr(
        data.sentences.PunktTrainer, "train", lambda self, text, **kw: (read.append(text), train(self, text, **kw))
    )
    lines = prepared(tmp_path, "".join(f"This is sentence {i}.\n" for i in range(1000)))
    assert len(lines) == 1000
    assert 2000 <= sum(map(len, read)) <= 3000
    assert max(map(len, read)) <= 600


@pytest.mark.slow
def test_broadcast_news(monkeypatch, tmp_path):
    monkeypatch.setattr(data.sentences, "LEARN_FROM", 1_000_000)  # three times as fast
    raw = SHARED / "corpora" / "abc.txt"
    if not raw.is_file():
        pytest.skip("../shared/corpora/abc.txt is not here")
    summary = prepare([raw], tmp_path / "abc.txt")
    assert 32_000 <= summary.sentences <= 33_500
    assert 650_000 <= summary.words <= 664_500  # the corpus has 664k
    lines = sentences_of(summary.output)
    split_after = ("Dr.", "Mr.", "Mrs.", "St.", "Gen.", "No.", "U.S.")  # each is followed by a name there
    assert sum(line.endswith(split_after) for line in lines) <= 3
