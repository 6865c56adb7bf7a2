"""How the commands speak: numbers and words on the command line, and errors as one message."""

import pytest
import typer
from pictures import write_classes

from kerasft.commands.terminal import errors, increasing, load_images, numbers, pair, words


def test_numbers_and_words():
    assert numbers("0,-1.5", float, "--range", 2) == [0.0, -1.5]
    assert pair("0,255", "--range") == (0.0, 255.0)
    assert words("a, b,,c") == ["a", "b", "c"]
    for text, message in (("1,x", "separated by commas; received '1,x'"), ("1", "takes 2 numbers")):
        with pytest.raises(ValueError, match=message):
            numbers(text, int, "--range", 2)


def test_what_is_known_of_images_is_said_once(tmp_path, capsys, caplog):
    write_classes(tmp_path, count=4)
    (tmp_path / "cat" / "phone.heic").write_bytes(b"x")
    images = load_images(str(tmp_path), image_size=8, batch_size=4)
    (note,) = images.notes
    assert "1 .heic" in note and capsys.readouterr().out.count(note) == 1 and caplog.text == ""


def test_an_expected_error_is_one_message_and_status_1(capsys, monkeypatch):
    monkeypatch.delenv("KERASFT_TRACEBACK", raising=False)
    with pytest.raises(typer.Exit) as ended, errors():
        raise ValueError("[no] such thing")
    assert ended.value.exit_code == 1
    assert "error: [no] such thing" in capsys.readouterr().err
    monkeypatch.setenv("COLUMNS", "20")
    with pytest.raises(typer.Exit), errors():
        raise ValueError("none of the words is cut")
    assert capsys.readouterr().err == "error: none of the \nwords is cut\n"


def test_a_status_that_is_given_is_kept_and_adds_no_message(capsys):
    with pytest.raises(typer.Exit) as ended, errors():
        raise typer.Exit(3)
    assert ended.value.exit_code == 3 and capsys.readouterr().err == ""


def test_tracebacks_are_shown_on_request(monkeypatch):
    monkeypatch.setenv("KERASFT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="as it is"), errors():
        raise ValueError("as it is")


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out put"
    monkeypatch.setattr("sys.argv", ["kerasft", "finetune", "digits", "--out", str(out), "--overwrite"])

    def stop(folder=None):
        with pytest.raises(typer.Exit) as ended, errors(folder):
            raise KeyboardInterrupt
        assert ended.value.exit_code == 130
        return capsys.readouterr().err

    assert stop() == stop(out) == "Stopped. Nothing was saved.\n"
    (tmp_path / ".out put.unfinished" / "state" / "backup").mkdir(parents=True)
    (tmp_path / ".out put.unfinished" / "job.json").write_text("{}")
    (tmp_path / ".out put.unfinished" / "state" / "backup" / "file").write_text("")
    said = stop(out)
    assert said == f"Stopped. To go on:\n    kerasft finetune digits --out '{out}' --resume\n"


def test_a_range_begins_with_its_lower_end():
    assert increasing("-1,1", "--range") == (-1.0, 1.0)
    for text in ("1,0", "0,0", "0,inf", "nan,1"):
        with pytest.raises(ValueError, match=f"--range takes the lowest and the highest .* '{text}'"):
            increasing(text, "--range")
