"""The words of the commands on what was exported."""

import re

import pytest
from kerasft.export import Evidence, Ladder, Readiness, Refusal
from ladder_reports import REPORTS

from kerasft.commands.report_text import comparison, refusals
from kerasft.tables import plain_text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_comparison_fits_the_terminal_with_all_its_numbers(width):
    found = Ladder(REPORTS, {}, choice="int8", reason="the smallest")
    text = plain_text(comparison(found), width)
    assert max(map(len, text.splitlines())) <= width
    words = re.split(r"[\s│]+", text)
    missing = [word for row in found.rows() for cell in row for word in cell.split() if word not in words]
    assert not missing and text.count("→") == 1


@pytest.mark.parametrize("width", [60, 120])
def test_what_accelerators_refuse_fits_the_terminal(width):
    why = "has float32 tensors, not 8-bit integers"
    refused = [Refusal("edgetpu", "CONV_2D", f"t{i}", why, i) for i in range(12)]
    evidence = {"edgetpu": Evidence("read in a document", "Coral's"), "xnnpack": Evidence("run", "LiteRT 2")}
    found = Readiness(1234, {"edgetpu": tuple(refused), "xnnpack": ()}, evidence)
    text = plain_text(refusals(found), width)
    assert max(map(len, text.splitlines())) <= width
    words = re.split(r"[\s│]+", text)
    for word in ("1222", "1234", "(99", "12", "CONV_2D", "(100", "–"):
        assert word in words
