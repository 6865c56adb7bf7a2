"""Write kerasft/text/characters.json: which characters Hugging Face's tokenizers drop, strip and lower.

    python tests/data/make_text_characters.py

It asks `tokenizers` (0.23 wrote the stored file) about each code point, so that every version of Python and
each browser splits a text as that library does, whatever version of Unicode they know.
"""

import json
from pathlib import Path

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

OUT = Path(__file__).parents[2] / "kerasft" / "text" / "characters.json"
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def ranges(codes):
    """Pairs of the first and the last of each run."""
    found = []
    for code in codes:
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def main():
    plain = BertNormalizer(lowercase=False)
    stripping = BertNormalizer(
        clean_text=False, handle_chinese_chars=False, lowercase=False, strip_accents=True
    )
    lowering = BertNormalizer(
        clean_text=False, handle_chinese_chars=False, lowercase=True, strip_accents=False
    )
    split = BertPreTokenizer()
    cleaned = {code: plain.normalize_str(chr(code)) for code in CODES}
    stripped = {code: stripping.normalize_str(chr(code)) for code in CODES}
    lowered = {code: lowering.normalize_str(chr(code)) for code in CODES}

    def is_apart(code):
        return len(split.pre_tokenize_str(f"a{chr(code)}a")) == 3

    content = {
        "dropped": ranges(code for code in CODES if cleaned[code] == ""),
        "spaces": ranges(code for code in CODES if cleaned[code] == " "),
        "cjk": ranges(code for code in CODES if cleaned[code] == f" {chr(code)} "),
        "punctuation": ranges(code for code in CODES if is_apart(code)),
        "marks": ranges(code for code in CODES if stripped[code] == ""),
    }
    hangul = range(0xAC00, 0xD7A4)  # their parts follow from their numbers
    for name, mapped in (("stripped", stripped), ("lowered", lowered)):
        content[name] = {
            chr(code): mapped[code]
            for code in CODES
            if mapped[code] not in ("", chr(code)) and code not in hangul
        }
    for name, found in content.items():
        print(name, len(found))
    OUT.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
