"""The table of characters, by hand."""

from kerasft.text.characters import APART, DROPPED, ITSELF, ITSELF_APART, SPACE, character_table


def action(table, character):
    code = ord(character)
    return table.actions[table.pages[code // 256], code % 256]


def replaced(table, character):
    row = action(table, character)
    return table.codes[table.starts[row] :][: table.counts[row]].tolist()


def test_lower_case():
    table = character_table(True)
    assert [action(table, c) for c in "a \n\x00!中"] == [
        ITSELF,
        SPACE,
        SPACE,
        DROPPED,
        ITSELF_APART,
        ITSELF_APART,
    ]
    assert replaced(table, "É") == [ord("e")] and action(table, "\u0301") == DROPPED
    assert replaced(table, "\u037e") == [ord(";") | APART]  # the Greek question mark is a semicolon
    assert replaced(table, "한") == [0x1112, 0x1161, 0x11AB]  # The Unicode Standard, section 3.12


def test_letters_kept():
    table = character_table(False)
    assert [action(table, c) for c in "É\u0301한\u037e"] == [ITSELF, ITSELF, ITSELF, ITSELF_APART]
