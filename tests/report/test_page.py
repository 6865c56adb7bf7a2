"""The page of a run: what it shows, and what it says where something is missing."""

import re

import pytest
import stored_run
from html_text import Page

from kerasft.report.page import PAGE, SECTIONS, page, write_page
from kerasft.report.run_folder import read_run


def page_of(folder, **files):
    return Page(page(read_run(stored_run.write(folder, **files))))


@pytest.fixture
def whole(tmp_path):
    return page_of(tmp_path / "out", report=stored_run.report(), evidence=stored_run.evidence())


def test_every_section_is_shown(whole):
    names = [section.name for section in SECTIONS if "finetune" in section.kinds]
    assert [attributes["id"] for tag, attributes in whole.tags if tag == "section"] == names
    assert not any("Not shown" in text for text in whole.text.values())
    assert whole.open == []


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("", "out: kerasft finetune 0.7000 test accuracy, fine-tuned 0.6250 test accuracy, frozen"),
        ("recipe", "Phase 1, epochs 1 to 2: everything from head on trains at a rate of 0.001."),
        ("recipe", "Phase 2, epochs 3 to 4: everything from block_1 on trains at a rate of 5.00e-04,"),
        ("recipe", "warming up over 10 steps."),
        ("recipe", "The optimizer is AdamW with weight decay 0.004"),
        ("recipe", "2 of 4 epochs were trained from a record"),
        ("phases", "2 1 block_1 2 712 0.7500 0.5000"),
        ("stages", "block_0 1,234 never"),
        ("stages", "block_1 1,234 epoch 3 4.00e-04 4.00e-04"),
        ("stages", "head 1,234 epoch 1 0.001 5.00e-04"),
        ("curves", "3 2 0.6000 0.8000 0.6250 0.5000"),
        ("movement", "block_1 0 0 0.01 0.02"),
        ("recipe", "The head, solved on 20 samples, has an accuracy of 0.600 ± 0.110."),
        ("precisions", "model.tflite float32 13.49 MB 0.7000 0.00 (-1.00 to 2.00) 1.25 ms 8.1e-06"),
        ("precisions", "int8 was not exported: differs by 0.3"),
        ("confusion", "7 of 10 test samples are right (0.7000)."),
        ("confusion", "dog & cat 5 0.600 0.750"),  # 3 of 5 found; named 4 times, 3 of them right
        ("wrong", "3 test samples are wrong."),
        ("wrong", "taken for dog & cat (80 %)"),
        ("data", "pictures: 20 images for training, 5 images for validation, 10 images for test."),
        ("data", "1 of 36 images can't be read"),
        ("data", "… and 20 more"),
        ("load", 'keras.models.load_model("out/model.keras")'),
        ("versions", "ai-edge-litert 2.3.0 kerasft 0.1.0 python 3.12.1"),
    ],
)  # fmt: skip
def test_what_sections_tell(whole, section, words):
    assert words in whole.of(section)


def test_names_are_shown_as_they_are_and_do_nothing(whole):
    text = " ".join(whole.text.values())
    for name in (stored_run.HOSTILE, "<img src=x onerror=alert(1)>", "tfhub/<b>", "dog & cat"):
        assert name in text
    tags = {tag for tag, _ in whole.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "form", "base"}
    assert not [name for _, attributes in whole.tags for name in attributes if name.startswith("on")]
    pictures = [attributes["src"] for tag, attributes in whole.tags if tag == "img"]
    assert [source[:16] for source in pictures] == [
        "data:image/png;b",
        "data:image/jpeg;",
    ]  # the third is none


def test_nothing_is_loaded(tmp_path):
    folder = stored_run.write(tmp_path, report=stored_run.report(), evidence=stored_run.evidence())
    html = page(read_run(folder))
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html) and "url(" not in html and "@import" not in html
    assert "default-src &#x27;none&#x27;" in html


def test_charts_have_names_and_numbers_beside_them(whole):
    charts = [attributes for tag, attributes in whole.tags if tag == "svg"]
    assert len(charts) == 4 and all(c["role"] == "img" and c["aria-label"] for c in charts)
    names = [tag for tag, _ in whole.tags]
    assert names.count("desc") == 4 and names.count("title") > 4


def test_similarity_is_shown_where_it_was_measured(tmp_path):
    evidence = stored_run.evidence()
    evidence["retention"] = {"stages": ["block_0", "block_1"], "cka": [[1.0, 0.9], [1.0, 0.8125]],
                             "distance": [[0.0, 0.01], [0.0, 0.02]]}  # fmt: skip
    found = page_of(tmp_path / "a", report=stored_run.report(), evidence=evidence)
    assert "block_1 0.9000 0.8125" in found.of("movement") and "was not measured" not in found.of("movement")
    evidence["retention"]["cka_in_the_end"] = [1.0, 0.875]
    found = page_of(tmp_path / "c", report=stored_run.report(), evidence=evidence)
    assert "block_1 0.9000 0.8125" in found.of("movement") and "block_1: 0.875" in found.of("movement")
    for row in evidence["epochs"]:
        row["distance"] = None
    found = page_of(tmp_path / "b", report=stored_run.report(), evidence=evidence)
    assert "block_1 0.01 0.02" in found.of("movement")


def test_texts_are_shown_as_texts(tmp_path):
    evidence = stored_run.evidence()
    evidence["evaluation"]["wrong"] = [{"true": 2, "predicted": 0, "score": 0.5, "text": "<b>good</b>"}]
    found = page_of(tmp_path, report=stored_run.report(), evidence=evidence)
    assert "<b>good</b>" in found.of("wrong") and "q" in {tag for tag, _ in found.tags}


def test_many_classes_are_listed(tmp_path):
    evidence = stored_run.evidence()
    evidence["evaluation"] = {
        "classes": [f"class {i}" for i in range(40)],
        "confusion": [[i, i, 5] for i in range(40)] + [[7, 9, 4], [9, 7, 1]],
        "wrong": [],
    }
    found = page_of(tmp_path, report=stored_run.report(), evidence=evidence).of("confusion")
    assert "class 7 class 9 4 class 9 class 7 1" in found
    assert "The 30 of 40 classes that are found least class test samples" in found
    assert "recall precision class 7 9 0.556 0.833" in found  # 5 of 9; 5 of 6


def test_a_search(tmp_path):
    found = page_of(tmp_path / "s", trials=stored_run.trials(), evidence=stored_run.evidence())
    assert "s: kerasft search" in found.of("") and "phases" not in found.text
    assert "The best is trial 1: head then all, trains from block_0; score 0.7500." in found.of("trials")
    assert f"2 – head then all {stored_run.HOSTILE} (1) 0.0012 0.75 3 4.5 failed" in found.of("trials")
    assert (
        sum(tag == "path" for tag, _ in found.tags) == 2 + 2
    )  # trials with a score, and the names of shapes


def test_a_run_of_an_earlier_version_shows_what_it_has(tmp_path):
    found = page_of(tmp_path, report=stored_run.report())
    shown = {name for name in found.text if name and "Not shown" not in found.text[name]}
    assert shown == {"phases", "curves", "precisions", "load", "versions"}
    for name in ("recipe", "stages", "movement", "confusion", "wrong", "data"):
        assert "made by an earlier version of kerasft" in found.of(name)


def test_a_run_of_another_version(tmp_path):
    evidence = {**stored_run.evidence(), "version": 2}
    found = page_of(tmp_path, report=stored_run.report(), evidence=evidence)
    assert "has version 2; this kerasft reads version 1" in found.of("")
    assert "Not shown: evidence.json has another version." in found.of("confusion")
    assert "0.7500" in found.of("phases")


def test_an_unfinished_run_shows_what_it_has_stored(tmp_path):
    evidence = stored_run.evidence()
    evidence["epochs"] = evidence["epochs"][:2]
    del evidence["evaluation"], evidence["moved"], evidence["usage"]
    begun = stored_run.write(tmp_path / ".out.unfinished", job={"handle": "h"})
    rows = [{"loss": 1.0, "accuracy": 0.25, "phase": 0}, {"loss": 0.5, "accuracy": 0.5, "phase": 0}]
    stored_run.write(begun / "state", history=rows, evidence=evidence)
    for folder in (tmp_path / "out", begun):
        found = Page(page(read_run(folder)))
        assert "out: kerasft finetune" in found.of("") and "has not ended" in found.of("")
        assert "2 1 0.5000 – 0.5000 –" in found.of("curves") and "head 0.1 0.2" in found.of("movement")
        assert "Not shown: the run has not ended." in found.of("confusion")
        assert "Not shown: no phase has ended." in found.of("phases")
    assert write_page(tmp_path / "out")[0] == tmp_path / "out.html"


GARBAGE = [7, "text", [], {}, [1], {"a": None}, [[None]], None, float("nan")]


@pytest.mark.parametrize("name", [n for n in stored_run.evidence() if n != "version"] + ["retention"])
@pytest.mark.parametrize("value", GARBAGE, ids=repr)
def test_evidence_in_another_form_leaves_the_other_sections(tmp_path, name, value):
    evidence = {**stored_run.evidence(), name: value}
    found = page_of(tmp_path, report=stored_run.report(), evidence=evidence)
    assert "0.7500" in found.of("phases") and found.open == []
    others = {"evaluation": "stages", "stages": "confusion"}
    assert "Not shown" not in found.of(others.get(name, "stages" if name != "epochs" else "confusion"))


@pytest.mark.parametrize("name", stored_run.report())
@pytest.mark.parametrize("value", GARBAGE, ids=repr)
def test_a_report_in_another_form_leaves_the_other_sections(tmp_path, name, value):
    found = page_of(tmp_path, report={**stored_run.report(), name: value}, evidence=stored_run.evidence())
    assert "Not shown" not in found.of("stages") + found.of("confusion") and found.open == []


def test_numbers_that_are_none_leave_gaps(tmp_path):
    report = stored_run.report()
    report["history"]["loss"] = [1.0, float("nan"), float("inf"), None]
    found = page_of(tmp_path, report=report, evidence=stored_run.evidence())
    assert "2 1 not a number 0.9000" in found.of("curves") and "Not shown" not in found.of("curves")


def test_a_large_run_stays_small(tmp_path):
    evidence, report = stored_run.evidence(), stored_run.report()
    stages, epochs = 300, 2000
    evidence["stages"] = [{"name": f"a stage with a long name {i}", "parameters": i} for i in range(stages)]
    row = {"rates": [1e-3 / (i + 1) for i in range(stages)], "distance": [i / 7 for i in range(stages)]}
    evidence["epochs"], evidence["moved"] = [row] * epochs, row["distance"]
    report["history"] = {name: [0.123456] * epochs for name in report["history"]}
    report["history"]["phase"] = [i // 10 for i in range(epochs)]
    classes = [f"class {i}" for i in range(1000)]
    wrong = evidence["evaluation"]["wrong"][1]
    confusion = [[i, (i * j) % 1000, 2] for i in range(1000) for j in (1, 2)]
    evidence["evaluation"] = {"classes": classes, "wrong": [wrong] * 500, "confusion": confusion}
    evidence["data"] |= {"classes": classes, "class_counts": [3] * 1000, "notes": ["A note."] * 10}
    folder = stored_run.write(tmp_path, report=report, evidence=evidence)
    path, _ = write_page(folder)
    assert path.stat().st_size < 1_000_000
    found = Page(path.read_text())
    assert not any("Not shown" in text for text in found.text.values())
    assert sum(tag == "img" for tag, _ in found.tags) == 24


def test_a_page_is_replaced_only_if_told_to(tmp_path):
    folder = stored_run.write(tmp_path / "out", report=stored_run.report())
    path, _ = write_page(folder)
    assert path == folder / PAGE
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_page(folder)
    assert path.read_text() == "mine"
    write_page(folder, overwrite=True)
    assert "kerasft finetune" in path.read_text()
    assert write_page(folder, tmp_path / "page.html")[0].read_text() == path.read_text()
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "report.json"]
