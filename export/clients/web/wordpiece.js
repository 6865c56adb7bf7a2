// WordPiece as BERT splits text, step by step as kerasft/export/wordpiece.py: clean, pad ideographs, strip
// accents, lower, split, and match the longest pieces. Marks such as [SEP] in a text are text like any other.

const LONGEST = 100; // characters of a word; a longer one is unknown
const DROPPED = /[\ufffd\p{Cc}\p{Cf}\p{Co}\p{Cs}]/u;
const SPACE = /[\t\n\r\p{Z}]/u;
const MARK = /[!-/:-@[-`{-~\p{P}]/u;
const IDEOGRAPHS = [
  [0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f],
  [0x2b920, 0x2ceaf], [0xf900, 0xfaff], [0x2f800, 0x2fa1f],
];

const isIdeograph = (c) => IDEOGRAPHS.some(([low, high]) => c.codePointAt(0) >= low && c.codePointAt(0) <= high);

/** The words and punctuation marks of a text. */
export function wordsOf(text, { lower_case, strip_accents }) {
  let cleaned = "";
  for (const c of text) {
    if (SPACE.test(c)) cleaned += " ";
    else if (!DROPPED.test(c)) cleaned += isIdeograph(c) ? ` ${c} ` : c;
  }
  if (strip_accents) cleaned = cleaned.normalize("NFD").replace(/\p{Mn}/gu, "");
  // by character: a sigma at a word's end is none other
  if (lower_case) cleaned = Array.from(cleaned, (c) => c.toLowerCase()).join("");
  const words = [];
  let word = "";
  for (const c of `${cleaned} `) {
    const space = SPACE.test(c);
    if (!space && !MARK.test(c)) {
      word += c;
      continue;
    }
    if (word) words.push(word);
    word = "";
    if (!space) words.push(c);
  }
  return words;
}

/** The longest pieces of a word that a vocabulary has, from left to right; [] if it can't be made of them. */
export function piecesOf(word, numbers) {
  const characters = Array.from(word);
  if (characters.length > LONGEST) return [];
  const pieces = [];
  for (let begin = 0; begin < characters.length; ) {
    let end = characters.length;
    let piece;
    for (; end > begin; end -= 1) {
      piece = (begin ? "##" : "") + characters.slice(begin, end).join("");
      if (numbers.has(piece)) break;
    }
    if (end === begin) return [];
    pieces.push(piece);
    begin = end;
  }
  return pieces;
}

/** What makes token ids of texts: rule is the `text` of model.json, numbers the ids of its vocabulary. */
export function tokenizer(rule) {
  const numbers = new Map(rule.vocabulary.map((token, number) => [token, number]));
  return (text) => {
    const tokens = [];
    const unknown = [];
    for (const word of wordsOf(text, rule)) {
      const pieces = piecesOf(word, numbers);
      if (!pieces.length) unknown.push(word);
      tokens.push(...(pieces.length ? pieces : [rule.unknown]));
    }
    const room = rule.sequence_length - Boolean(rule.start) - Boolean(rule.end);
    const kept = tokens.slice(0, room);
    const marked = [rule.start, ...kept, rule.end].filter(Boolean);
    const ids = new Int32Array(rule.sequence_length).fill(numbers.get(rule.padding));
    marked.forEach((token, i) => (ids[i] = numbers.get(token)));
    const mask = new Int32Array(rule.sequence_length).fill(1, 0, marked.length);
    const types = new Int32Array(rule.sequence_length);
    return { tokens: kept, ids, mask, types, unknown, cut: tokens.length - kept.length };
  };
}
