"""The report on a phase, as text and in a notebook."""

from html_tables import Shown

from kerasft.unfreezing.phase_report import PhaseReport, StageReport

REPORT = PhaseReport(
    1,
    2,
    (3, 5),
    4,
    7,
    (
        StageReport("<body>", False, 0.0, 0.0, 0.0, 0.0, 0, "no"),
        StageReport("head", True, 1e-3, 0.0, 0.25, 0.125, 90, "yes"),
    ),
)


def test_a_notebook_shows_what_print_shows():
    shown = Shown(REPORT._repr_html_())
    title, *lines = str(REPORT).splitlines()
    assert shown.beside == [title] == ["Phase 1, freeze depth 2, epochs 3 to 5, back to epoch 4"]
    assert [[cell for cell in row if cell] for row in shown.rows[1:]] == [line.split() for line in lines[1:]]
    assert shown.rows[0] == ["stage", "trained", "rate", "decay", "largest change", "mean change", "steps"]
    assert shown.rows[1] == ["<body>", "no", "", "", "0", "0", "0"]
