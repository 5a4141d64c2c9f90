"""Writes a large text, always the same one: for trying Votive on more text than a book.

    python scripts/make_text.py large.txt            # 1 GB
    python scripts/make_text.py large.txt 20_000_000

Made-up words with the frequencies of a real language (Zipf's law), in sentences and paragraphs, with some accents, dashes
and quotation marks, so that a character is not always a byte. The same size gives the same bytes on every machine.
"""

import random
import sys

SYLLABLES = (
    "ba be bi bo ca ce co da de di do fa fe fi fo ga ge go ha he hi ho la le li lo lu ma me mi mo na ne ni no "
    "pa pe pi po ra re ri ro ru sa se si so sta ste sto ta te ti to tra tre va ve vi vo wa we wi é è ü ö"
).split()
ENDINGS = ["", "", "", "n", "r", "s", "t", "l", "nd", "st", "ng"]
WORDS = 40_000
SENTENCES = 60_000


def main() -> None:
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    path = sys.argv[1]
    size = int(sys.argv[2]) if len(sys.argv) == 3 else 1_000_000_000
    # Only random() is used: Python promises that it never changes for a seed.
    draw = random.Random(64).random

    words = []
    known = set()
    while len(words) < WORDS:
        # Frequent words are short.
        syllables = 1 + int(draw() * (1.5 + len(words) / WORDS * 4))
        word = "".join(SYLLABLES[int(draw() * len(SYLLABLES))] for _ in range(syllables))
        word += ENDINGS[int(draw() * len(ENDINGS))]
        if word not in known:
            known.add(word)
            words.append(word)

    def sentence() -> str:
        # The k-th word is about k times rarer than the first.
        count = 4 + int(draw() * 20)
        text = " ".join(words[int(WORDS ** draw()) - 1] for _ in range(count)).capitalize()
        kind = draw()
        if kind < 0.1:
            return "“" + text + "!”"
        if kind < 0.15:
            middle = text.find(" ", len(text) // 2)
            return text[:middle] + " —" + text[middle:] + "."
        return text + (", " + str(int(draw() * 2000)) + "." if kind < 0.2 else ".")

    sentences = [sentence() for _ in range(SENTENCES)]
    left = size
    with open(path, "wb") as file:
        while left > 0:
            block = []
            for _ in range(2_000):
                count = 1 + int(draw() * 8)
                block.append(" ".join(sentences[int(draw() * SENTENCES)] for _ in range(count)))
            data = ("\n\n".join(block) + "\n\n").encode()
            if len(data) > left:
                # The last character may be cut: spaces take its place.
                data = data[:left].decode(errors="ignore").encode().ljust(left)
            file.write(data)
            left -= len(data)


if __name__ == "__main__":
    main()
