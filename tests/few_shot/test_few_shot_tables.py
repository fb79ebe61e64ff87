"""Tables of finished runs, and runs beside each other."""

import json
import shutil

import few_shot_cases as cases
import pytest
from few_shot_cases import flags, run

from common.errors import UserError
from evaluations.bootstrap import micro_prf
from evaluations.few_shot import compare, tables
from evaluations.few_shot import run as run_episodes
from evaluations.few_shot.records import read_run
from evaluations.few_shot.scores import total


def test_calc_micro_shows_finished_settings_beside_the_published_rows(place, capsys):
    lines = run(place)
    run(place, "--method", "nnshot", name="5-1-nnshot")
    shutil.copytree(place / "out/intra/tiny/5-1", place / "out/intra/tiny/5-1-no_viterbi")
    (place / "out/intra/tiny/5-1-no_viterbi/summary.json").unlink()
    capsys.readouterr()
    tables.main(["tiny", "intra", "--output", f"{place}/out", "--scoring", "published", "--skip_episodes", "2"])
    out = capsys.readouterr().out
    precision, recall, f1 = micro_prf(sum(total(line["published"]) for line in lines[2:]))
    assert f"| intra 5-1 | 4 | {precision:.2f} | {recall:.2f} | {f1:.2f} |" in out
    assert "| 40.43 | 47.20 |" in out and "60.78" not in out and "| intra 5-1-nnshot | 4 |" in out
    assert "intra 5-1-no_viterbi is not finished" in out and "religion " in out
    with pytest.raises(UserError, match="no run of the name nobody"):
        tables.main(["nobody", "--output", f"{place}/out"])


OLD_RUN = {  # as runs were recorded before they had a layout
    "recipe": {"type": "intra", "way": 5, "shot": 1, "method": "container", "seed": 3, "temp_trans": 0.01},
    "data": {"episodes": "e", "labels": "l", "version": "v"},
    "source": {"weights": "w"},
    "training": {"recipe": {"epochs": 1, "seed": 3}, "data": {"train": "t", "version": "v"}, "weights": "w"},
}


def test_finished_runs_of_before_can_be_read_but_not_resumed(place, capsys):
    run(place)
    setting, output = place / "out/intra/tiny/5-1", ["--output", f"{place}/comparison"]
    shutil.copytree(setting, place / "new")
    (setting / "run.json").write_text(json.dumps(OLD_RUN))
    tables.main(["tiny", "intra", "--output", f"{place}/out"])
    assert "| intra 5-1 | 6 |" in capsys.readouterr().out
    compare.main([str(setting), str(setting), *output])
    with pytest.raises(UserError, match="differ in data episodes"):
        compare.main([str(setting), f"{place}/new", *output])
    with pytest.raises(UserError, match="of another version of this project, which cannot be resumed"):
        run(place)


def test_compare(place, capsys):
    """A run against itself is no different; against one that finds less it is, and the plot is drawn."""
    run(place)
    good = place / "out/intra/tiny/5-1"
    worse = place / "out/intra/worse/5-1"
    shutil.copytree(good, worse)
    records = [json.loads(line) for line in (good / "episodes.jsonl").read_text().splitlines()]
    for record in records:
        record["full"] = {kind: [0, found, gold] for kind, (_, found, gold) in record["full"].items()}
    (worse / "episodes.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    output = ["--output", f"{place}/comparison"]
    compare.main([f"{good},{good}", str(good), *output])
    result = json.loads((place / "comparison.json").read_text())
    assert result["all"]["difference"] == 0 and result["all"]["p_value"] == 1
    compare.main([str(worse), str(good), *output, "--plot_format", "png"])
    result = json.loads((place / "comparison.json").read_text())
    f1 = micro_prf(read_run(good).counts("full").sum(0))[2]
    assert (result["all"]["f1_a"], result["all"]["f1_b"]) == (0, pytest.approx(f1))
    assert (
        result["all"]["low"] > 0 and result["all"]["p_value"] < 0.05 and set(result["types"]) == set(cases.TEST_TYPES)
    )
    compare.main([str(worse), str(good), "--output", f"{place}/v1.2"])
    assert (place / "v1.2.json").exists() and (place / "v1.2.svg").exists()
    assert (place / "comparison.svg").stat().st_size > 1000 and (place / "comparison.png").stat().st_size > 1000


def test_tables_and_compare_keep_methods_that_read_label_names_apart(place, capsys):
    for name in ("container", "structshot", "proml", "readout"):
        run_episodes.main(flags(place, "--method", name))
    capsys.readouterr()
    tables.main(["tiny", "intra", "--output", f"{place}/out"])
    plain, reading = capsys.readouterr().out.split("Methods that read label names, another setting")
    assert "Methods that do not read label names" in plain and "| 60.78 | 62.48 |" in reading
    reading = reading.split("F1 per type")[0]
    assert all(f"| intra 5-1{name} | 6 |" in plain for name in ("", "-structshot", "-readout"))
    assert "| intra 5-1-proml | 6 |" in reading and "5-1-readout |" not in reading
    folder, output = place / "out/intra/tiny", ["--output", f"{place}/comparison"]
    records = [read_run(folder / name).counts("full") for name in ("5-1", "5-1-proml")]
    first, second = (micro_prf(counts.sum(0))[2] for counts in records)
    assert f"| {second - first:+.2f} (" in reading

    compare.main([f"{folder}/5-1", f"{folder}/5-1-structshot", *output])
    assert "Only one of them" not in capsys.readouterr().out
    compare.main([f"{folder}/5-1", f"{folder}/5-1-proml", *output])
    assert "Only one of them reads label names" in capsys.readouterr().out
    result = json.loads((place / "comparison.json").read_text())
    assert result["methods"] == ["container", "proml"] and result["label_names"] == [False, True]
    assert result["all"]["difference"] == pytest.approx(second - first)
    with pytest.raises(UserError, match="different methods cannot be summed"):
        compare.main([f"{folder}/5-1,{folder}/5-1-proml", f"{folder}/5-1", *output])
    made = json.loads((folder / "5-1-proml" / "run.json").read_text())
    made["inputs"]["training"]["inputs"]["encoder"] = "another"
    (folder / "5-1-proml" / "run.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match=r"differ in encoder .*; only runs that differ in the method can be compared"):
        compare.main([f"{folder}/5-1", f"{folder}/5-1-proml", *output])
    tables.main(["tiny", "intra", "--output", f"{place}/out"])
    out = capsys.readouterr().out
    assert f"| {second - first:+.2f} (" not in out
    assert "intra 5-1-proml, no difference to CONTaiNER: " in out and "differ in encoder" in out
    (place / "out/intra/tiny").rename(place / "out/intra/m[1]")
    (place / "out/intra").rename(place / "out/own")
    tables.main(["m[1]", "--output", f"{place}/out"])
    assert "| own 5-1 | 6 |" in capsys.readouterr().out


def test_what_cannot_be_written_or_drawn(place, capsys):
    """A type's name that matplotlib would read as a formula, and a file in the place of a directory."""
    run(place)
    setting = place / "out/intra/tiny/5-1"
    log = setting / "episodes.jsonl"
    log.write_text(log.read_text().replace(cases.TEST_TYPES[0], "a$_$"))
    compare.main([str(setting), str(setting), "--output", f"{place}/comparison"])
    assert "a$_$" in (place / "comparison.svg").read_text().replace("\\", "") and "| a$_$ |" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"cannot write into .*comparison\.svg"):
        compare.main([str(setting), str(setting), "--output", f"{place}/comparison.svg/x"])


def test_inductive_and_transductive_tadner_are_neither_compared_nor_summed(place, capsys):
    for chosen in (["container"], ["tadner"], ["tadner", "--transductive"]):
        run_episodes.main(flags(place, "--method", *chosen))
    plain, inductive, transductive = (
        str(place / "out/intra/tiny" / name) for name in ("5-1", "5-1-tadner", "5-1-tadner-transductive")
    )
    for sides in ((inductive, transductive), (plain, f"{inductive},{transductive}")):
        with pytest.raises(UserError, match=r"differ in --transductive \(False, True\)"):
            compare.main([*sides, "--output", f"{place}/comparison"])
    for one in (inductive, transductive):  # each beside another method
        compare.main([plain, one, "--output", f"{place}/comparison"])
        assert f"B: {one} (tadner, reads label names)" in capsys.readouterr().out


def test_compare_refuses_runs_that_differ_in_more_than_the_encoder(place):
    run(place)
    folder = place / "out/intra/tiny"
    shutil.copytree(folder / "5-1", folder / "other")
    log = folder / "other" / "episodes.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match=r"different episodes \(6, 5\)"):
        compare.main([f"{folder}/5-1", f"{folder}/other"])
    made = json.loads((folder / "other" / "run.json").read_text())
    made["inputs"]["version"] = "another release"
    (folder / "other" / "run.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="differ in data version"):
        compare.main([f"{folder}/5-1", f"{folder}/other"])
    with pytest.raises(UserError, match=r"has no run.json"):
        compare.main([f"{folder}/5-1", f"{folder}/nothing"])


def test_a_run_whose_episodes_are_gone_or_damaged_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"arguments": {}, "inputs": {}}')
    with pytest.raises(UserError, match=r"episodes\.jsonl cannot be read: No such file"):
        read_run(tmp_path)
    (tmp_path / "episodes.jsonl").write_text("{\n")
    with pytest.raises(UserError, match=r"episodes\.jsonl cannot be read: Expecting"):
        read_run(tmp_path)
