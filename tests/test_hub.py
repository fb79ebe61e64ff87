"""Model cards as the hub reads them, and uploads to a stand-in for it."""

import json
from types import SimpleNamespace

import pytest
import yaml
from huggingface_hub import ModelCard
from supervised_ie_cases import flags, write_case

import convert_checkpoint
import pretrain
from common import hub
from common.errors import UserError
from common.hub import check_repository, corpus_of, origin, reason
from evaluations.supervised_ie import evaluate
from evaluations.supervised_ie import train as extraction
from training.cards import push_run


class StandIn:
    """For HfApi: keeps what it is asked for; uploads fail with `failure`."""

    asked, failure = [], None

    def create_repo(self, repository, **options):
        self.asked.append(("create", repository, options))
        return SimpleNamespace(repo_id=f"me/{repository}", __str__=lambda: "")

    def upload_folder(self, repo_id, folder_path, allow_patterns):
        if self.failure:
            raise self.failure
        files = [path.name for path in folder_path.iterdir() if not allow_patterns or path.name in allow_patterns]
        self.asked.append(("upload", repo_id, {"files": sorted(files)}))


@pytest.fixture
def api(monkeypatch):
    """A hub to which somebody is logged in."""
    monkeypatch.setattr(StandIn, "asked", [])
    monkeypatch.setattr(StandIn, "failure", None)
    monkeypatch.setattr(hub, "HfApi", StandIn)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_token")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    return StandIn


@pytest.fixture
def train(tiny_encoder, tmp_path):
    """Runs pretrain.py for a few steps, again with the same name; gives the run's directory."""

    def run(*flags):
        recipe = "--max_length 64 --batch_size 8 --device cpu --eval_sentences 4 --max_steps 4 --name run"
        places = ["--output_dir", str(tmp_path), "--model", str(tiny_encoder), "--data", "lee_news"]
        pretrain.main([*recipe.split(), *places, *flags])
        return tmp_path / "run"

    return run


def metadata(directory):
    return yaml.safe_load(ModelCard.load(directory / "README.md").data.to_yaml())


def measures(card):
    results = card["model-index"][0]["results"]
    return {(r["dataset"]["type"], m["type"]) for r in results for m in r["metrics"]}


# --- cards --------------------------------------------------------------------------------------------------------


def test_what_is_known_of_an_encoder(tmp_path):
    minilm = {"base_model": "sentence-transformers/all-MiniLM-L6-v2", "license": "apache-2.0", "language": "en"}
    assert origin("minilm") == minilm
    assert origin("someone/bert") == {"base_model": "someone/bert"} and origin("") == {}
    assert origin(str(tmp_path)) == {}
    for text in ("---\n- no: [mapping\n---\n", "no metadata", "---\n5\n---\n"):
        (tmp_path / "README.md").write_text(text)
        assert origin(str(tmp_path)) == {}
    (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump(minilm)}tags: [x]\n---\n# Text\n")
    assert origin(str(tmp_path)) == minilm  # a converted checkpoint is a link in the chain


def test_what_is_not_known_of_an_encoder_is_not_taken_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert origin("") == {}
    assert origin("/elsewhere/bert") == origin("../bert") == origin("./bert") == {}


@pytest.mark.parametrize(
    ("data", "name", "identity"),
    [
        ("someone/corpus", "someone/corpus", "someone/corpus"),
        ("Salesforce/wikitext:wikitext-2-raw-v1", "Salesforce/wikitext", "Salesforce/wikitext"),
        ("lee_news", "lee_news", None),
        ("https://a.org/x.zip", "x.zip", None),
        ("HERE/news.txt", "news", None),
        ("/elsewhere/news.txt", "news", None),
        ("corpora/news.jsonl.gz", "news", None),
        ("my news (2024).txt", "my news (2024)", None),
        ("", "", None),
    ],
)
def test_the_corpus_of_a_card(tmp_path, data, name, identity):
    (tmp_path / "news.txt").touch()
    data = data.replace("HERE", str(tmp_path))
    assert corpus_of(data) == (name, [identity] if identity else None)


def test_cards_of_a_run_and_of_its_encoder(train, tmp_path, api):
    run = train()
    assert not api.asked  # never without being asked
    record = json.loads((run / "run.json").read_text())
    record["arguments"]["model"] = "bert-base-uncased"  # as if
    (run / "run.json").write_text(json.dumps(record))
    pretrain.write_model_card(run)
    convert_checkpoint.convert(run, tmp_path / "encoder")
    for directory in (run, tmp_path / "encoder"):
        card = metadata(directory)
        assert card["base_model"] == "google-bert/bert-base-uncased" and card["license"] == "apache-2.0"
        assert card["language"] == "en" and "datasets" not in card
        assert card["library_name"] == "transformers" and "sparse-latent-typing" in card["tags"]
        assert {("lee_news", "mlm_loss"), ("lee_news", "mlm_accuracy")} <= measures(card)
    assert ("lee_news", "bleu") in measures(metadata(run)) and ("lee_news", "bleu") not in measures(card)
    text = " ".join((tmp_path / "encoder/README.md").read_text().split())
    assert "further with sparse latent typing" in text
    assert "trained for 4 steps on `lee_news`, starting from `bert-base-uncased`" in text
    assert origin(str(tmp_path / "encoder"))["base_model"] == "google-bert/bert-base-uncased"


def test_the_card_of_an_encoder_of_unknown_origin(ours, tiny_tokenizer, tmp_path):
    tiny_tokenizer.save_pretrained(ours)
    convert_checkpoint.convert(ours, tmp_path / "encoder")
    text = (tmp_path / "encoder/README.md").read_text()
    assert "(how is not recorded)" in text and "model-index" not in text and "base_model" not in text


def test_the_card_of_an_extractor(tmp_path):
    root = write_case(tmp_path)
    (root / "encoder/README.md").write_text("---\nbase_model: someone/bert\nlicense: mit\nlanguage: en\n---\n")
    extraction.main(flags(root, "run", max_epochs=2))
    card = metadata(root / "run")
    assert (card["base_model"], card["license"], card["language"]) == ("someone/bert", "mit", "en")
    assert "datasets" not in card and measures(card) == {("data", "f1")}
    assert "| entities | GPE, ORG, PER |" in (root / "run/README.md").read_text()
    evaluate.main(["--name", str(root / "run"), "--data", str(root / "data"), "--split", "train", "--device", "cpu"])
    splits = {result["dataset"].get("split") for result in metadata(root / "run")["model-index"][0]["results"]}
    assert splits == {"dev", "train"}


# --- uploads ------------------------------------------------------------------------------------------------------


def test_a_run_is_pushed_at_its_end_and_again_when_asked_again(train, api):
    run = train("--push_to_hub", "repository")
    model = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    expected = [
        ("create", "repository", {"private": True, "exist_ok": True}),
        ("upload", "me/repository", {"files": sorted(model | {"README.md", "curves.svg", "metrics.jsonl"})}),
    ]
    assert api.asked == expected
    weights = (run / "model.safetensors").read_bytes()
    train("--push_to_hub", "repository")  # the run is finished
    assert api.asked == expected * 2 and (run / "model.safetensors").read_bytes() == weights
    train()
    assert api.asked == expected * 2


def test_an_encoder_is_pushed(ours, tiny_tokenizer, tmp_path, api, capsys):
    tiny_tokenizer.save_pretrained(ours)
    command = ["--checkpoint", str(ours), "--output", str(tmp_path / "encoder")]
    convert_checkpoint.main(command)
    assert not api.asked
    convert_checkpoint.main([*command, "--push_to_hub", "team/encoder"])
    (_, name, options), (_, _, uploaded) = api.asked
    assert name == "team/encoder" and options["private"]
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(uploaded["files"])
    assert convert_checkpoint.RECORD not in uploaded["files"]  # it has paths of this machine


def test_an_encoder_of_another_place_has_its_runs_origin(train, tmp_path, monkeypatch):
    """Relative paths of the run mean something else, or look like hub ids, where it is converted."""
    run = train()
    record = json.loads((run / "run.json").read_text())
    record["arguments"] |= {"model": "w/tiny", "data": "w/corpus"}
    (run / "run.json").write_text(json.dumps(record))
    convert_checkpoint.convert(run, tmp_path / "encoder")
    card = metadata(tmp_path / "encoder")
    assert "base_model" not in card and "datasets" not in card


def test_all_that_the_hub_says_is_in_one_line():
    said = "400 Client Error. (Request ID: x)\n\nInvalid metadata in README.md.\n- Error: base_model\n"
    assert reason(ValueError(said + "For more information check: https://x")) == " ".join(said.split())
    assert reason(OSError()) == "OSError"


def test_what_the_hub_does_not_take_is_kept(train, api, monkeypatch):
    run = train()
    for failure in (ConnectionError("no network\nand so on"), ValueError("403 Forbidden"), OSError()):
        monkeypatch.setattr(StandIn, "failure", failure)
        with pytest.raises(UserError, match=r"run could not be pushed to r/s: .*; it is kept, and the same") as error:
            push_run(run, "r/s")
        assert "\n" not in str(error.value)
    monkeypatch.setattr(StandIn, "failure", None)
    push_run(run, "r/s")
    assert [what for what, *_ in api.asked] == ["create"] * 4 + ["upload"]


def test_what_cannot_be_pushed_is_said_before_anything_is_computed(train, tmp_path, api, monkeypatch):
    check_repository(None)
    with pytest.raises(UserError, match="--push_to_hub a/b/c: "):
        train("--push_to_hub", "a/b/c")
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(UserError, match="--push_to_hub a/b: not logged in"):
        train("--push_to_hub", "a/b")
    with pytest.raises(UserError, match="--push_to_hub a/b: not logged in"):
        convert_checkpoint.main(["--checkpoint", "nowhere", "--push_to_hub", "a/b"])
    monkeypatch.setattr(hub, "get_token", lambda: "hf_token")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="--push_to_hub a/b: the variable HF_HUB_OFFLINE says"):
        train("--push_to_hub", "a/b")
    assert not (tmp_path / "run").exists()
