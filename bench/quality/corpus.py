#!/usr/bin/env python3
"""Makes the text that pretrain.py trains on from unpacked Debian packages.

Reads DIR, into which packages were unpacked, and writes documents with
<|endoftext|> between them to train.txt, calibration.txt and eval.txt. Which of
the three a document goes to depends on its name alone, so that a document is in
one of them and stays there.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import html.parser
import pathlib
import re
import subprocess
import sys

SEPARATOR = "<|endoftext|>"
# Of 100 documents. What is held out is cut short, so that many documents fit.
EVAL_SHARE, CALIBRATION_SHARE = 2, 3
HELD_OUT_CHARACTERS = 3000
LEAST_CHARACTERS = 400
BLOCKS = {"p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "dt", "dd", "pre", "br",
          "blockquote", "title"}
SKIPPED = {"script", "style", "head", "nav"}


class TextOf(html.parser.HTMLParser):
    """The text of an HTML page, a paragraph a line."""

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs, self._words, self._skipped = [], [], 0

    def handle_starttag(self, tag, attributes):
        self._skipped += tag in SKIPPED
        if tag in BLOCKS:
            self.end_paragraph()

    def handle_endtag(self, tag):
        self._skipped -= tag in SKIPPED
        if tag in BLOCKS:
            self.end_paragraph()

    def handle_data(self, data):
        if not self._skipped:
            self._words.append(data)

    def end_paragraph(self):
        text = " ".join("".join(self._words).split())
        if text:
            self.paragraphs.append(text)
        self._words = []


def text_of_page(path: pathlib.Path) -> str:
    parser = TextOf()
    parser.feed(path.read_text("utf-8", "replace"))
    parser.end_paragraph()
    return "\n".join(parser.paragraphs)


def read(path: pathlib.Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")


def bible(root: pathlib.Path):
    """Chapters of bible-kjv, whose data file only its own program reads."""
    program = root / "usr/bin/bible"
    if not program.exists():
        return
    printed = subprocess.run([program, "-p", root / "usr/lib", "-f", "gen1:1-rev22:21"], text=True,
                             capture_output=True, check=True).stdout
    chapters: dict[str, list[str]] = {}
    for line in printed.splitlines():
        if match := re.match(r"(\w+):\d+ (.*)", line):
            chapters.setdefault(match[1], []).append(match[2])
    for name, verses in chapters.items():
        yield f"bible/{name}", "\n".join(verses)


def jargon(root: pathlib.Path):
    for path in root.glob("usr/share/doc/jargon-text/jargon.txt.gz"):
        for number, part in enumerate(re.split(r"\n(?=:)", read(path))):
            yield f"jargon/{number // 20}", part


def pages(root: pathlib.Path):
    for pattern in ("anarchism/html/*.html", "debian-handbook/html/en-US/*.html"):
        for path in sorted(root.glob(f"usr/share/doc/{pattern}")):
            yield f"{pattern}/{path.name}", text_of_page(path)


def sources(root: pathlib.Path):
    for pattern in ("python3.*[0-9]/html/_sources/**/*.rst.txt", "linux-doc-*/Documentation/**/*.rst.gz"):
        for path in sorted(root.glob(f"usr/share/doc/{pattern}")):
            if "translations" not in path.parts:
                yield str(path.relative_to(root)), read(path)


def tidy(text: str) -> str:
    text = re.sub(r"[^\x20-\x7e\n]", "", text.replace("\t", "    "))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" +\n", "\n", text)).strip()


def part_of(name: str) -> str:
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    if number < EVAL_SHARE:
        return "eval"
    return "calibration" if number < EVAL_SHARE + CALIBRATION_SHARE else "train"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="DIR", type=pathlib.Path)
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, required=True)
    args = parser.parse_args()
    documents: dict[str, dict[str, str]] = {"train": {}, "calibration": {}, "eval": {}}
    for source in (bible, jargon, pages, sources):
        for name, text in source(args.root):
            part = documents[part_of(name)]
            part[name] = (part[name] + "\n" if name in part else "") + tidy(text)
    args.output.mkdir(parents=True, exist_ok=True)
    for part, texts in documents.items():
        kept = [t if part == "train" else t[:HELD_OUT_CHARACTERS]
                for t in texts.values() if len(t) >= LEAST_CHARACTERS]
        (args.output / f"{part}.txt").write_text(SEPARATOR.join(kept))
        print(f"{part}: {len(kept)} documents, {sum(map(len, kept))} characters")
    return 0 if documents["train"] else "error: no package that is known lies there"


if __name__ == "__main__":
    sys.exit(main())
