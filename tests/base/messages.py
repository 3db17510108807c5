#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sentences in the code and in src/base/messages.def are the same ones.

messages.py ROOT [--missing]: every format of REQUIRE, error_set, context_warn, every text of message_say and
every help text of the operators' parameters has exactly one row, no row is left over, both languages take the
same arguments, Chinese has its own punctuation, the page a row points at exists, and no words go into a sentence
untranslated. --missing prints rows to be filled in."""
import re
import sys
from pathlib import Path

FORMAT_AT = {"REQUIRE": 2, "error_set": 1, "context_warn": 2}
# Functions that say a part of a sentence, and where they take it. What they pass on themselves is no literal.
PART_AT = {"message_say": 0, "warn_ignored_tokens": 1}
PASSED_ON = ("why", "f->help")
# Where the rows of the operators' tables have their help text; elsewhere it is an initialiser ".help".
HELP_AT = {"IN": 2, "OUT": 2, "INOUT": 2, "LIST": 2, "INT": 3}
TOKEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[A-Za-z_]\w*|\s+|.', re.S)
CONVERSION = re.compile(r"%(?:(\d+)\$)?[-+ #0]*(\*|\d+)?(?:\.(\*|\d+))?(hh|h|ll|l|z|t|j)?([a-zA-Z%])")
VERSION = "FATTN_VERSION_STRING"
ASCII_MARK = re.compile("[\u4e00-\u9fff][:;,)]|[:;,(][\u4e00-\u9fff]")


def tokens_of(path):
    text = re.sub(r"^[ \t]*#[^\n]*(\\\n[^\n]*)*", "", path.read_text(), flags=re.M)
    return [t for t in TOKEN.findall(text) if not t.isspace() and not t.startswith(("/*", "//"))]


def arguments(tokens, at):
    """The arguments of the call whose "(" is tokens[at], each a list of tokens."""
    depth, found = 0, [[]]
    for token in tokens[at:]:
        if token in "([{":
            depth += 1
            if depth == 1:
                continue
        elif token in ")]}":
            depth -= 1
            if depth == 0:
                return found
        elif token == "," and depth == 1:
            found.append([])
            continue
        found[-1].append(token)
    return found


def literal(tokens):
    """The text of adjacent string literals; None when it is anything else."""
    if not tokens or any(not t.startswith('"') and t != VERSION for t in tokens):
        return None
    joined = "".join("{version}" if t == VERSION else t[1:-1] for t in tokens)
    return re.sub(r'\\(["\\])', r"\1", joined)


def calls(path, names):
    tokens = tokens_of(path)
    for i, token in enumerate(tokens[:-1]):
        if token in names and tokens[i + 1] == "(":
            yield token, arguments(tokens, i + 1)


def literals(tokens):
    """The texts of an expression: "both" and "neither" of `fits ? "both" : "neither"`, and not ""."""
    run = []
    for token in tokens + [""]:
        if token.startswith('"'):
            run.append(token)
        elif run:
            yield literal(run)
            run = []


def parts_in(path):
    """The parts of sentences, and what is passed as one but cannot be read here."""
    for name, args in calls(path, PART_AT):
        tokens = args[PART_AT[name]] if PART_AT[name] < len(args) else []
        texts = [text for text in literals(tokens) if text]
        joined = "".join(tokens)
        declared = tokens[:2] == ["const", "char"]
        if texts or declared or joined in PASSED_ON or path.name == "messages.c":
            yield from ((text, None) for text in texts)
        else:
            yield None, f"{path}: {name}: no text: {joined[:80]}"


def help_in(path):
    for name, args in calls(path, (*HELP_AT, "ROW")):
        if name == "ROW":
            yield next(literal(a[3:]) for a in args if a[:3] == [".", "help", "="])
        else:
            yield literal(args[HELP_AT[name]])


def untranslated(tokens):
    """Literals of two words and more that go into a sentence beside message_say()."""
    at = 0
    while at < len(tokens):
        if tokens[at] in PART_AT and tokens[at + 1 : at + 2] == ["("]:
            depth = 0
            while at < len(tokens):
                depth += (tokens[at] == "(") - (tokens[at] == ")")
                at += 1
                if depth == 0 and tokens[at - 1] == ")":
                    break
            continue
        if tokens[at].startswith('"') and sum(bool(re.search("[A-Za-z]", w)) for w in tokens[at].split()) > 1:
            yield tokens[at]
        at += 1


def said_in_code(root):
    said, odd = {}, []
    for path in sorted((root / "src").rglob("*.c")):
        for name, args in calls(path, FORMAT_AT):
            index = FORMAT_AT[name]
            text = literal(args[index]) if index < len(args) else None
            if text is None:
                if path.name not in ("status.c", "log.c", "messages.c"):
                    odd.append(f"{path}: {name}: the text is not a literal: {' '.join(args[min(index, len(args) - 1)])[:80]}")
            else:
                said.setdefault(text, path)
            for arg in args[index + 1 :]:
                odd += [f"{path}: {name}: not through message_say: {words}" for words in untranslated(arg)]
        for text, fault in parts_in(path):
            if fault:
                odd.append(fault)
            else:
                said.setdefault(text, path)
    table = root / "src/api/operators.c"
    for text in help_in(table):
        said.setdefault(text, table)
    return said, odd


def rows(root):
    for kind, args in calls(root / "src/base/messages.def", ("MESSAGE", "PART")):
        texts = [literal(a) for a in args]
        yield kind, texts[0], texts[1], texts[2] if kind == "MESSAGE" else None


def conversions(text):
    """Type of every argument by position."""
    found, at = {}, 0
    for number, width, precision, size, kind in CONVERSION.findall(text):
        if kind == "%":
            continue
        for star in (width, precision):
            if star == "*":
                at += 1
                found[at] = "*"
        at += 1
        found[int(number) if number else at] = size + kind
    return found


def page_exists(root, where):
    page, _, anchor = where.partition("#")
    path = root / page
    if not path.is_file():
        return False
    heads = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.M)
    slugs = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in heads}
    return not anchor or anchor in slugs


def main():
    root = Path(sys.argv[1])
    said, wrong = said_in_code(root)
    table = {}
    for kind, english, chinese, where in rows(root):
        if english is None or chinese is None:
            wrong.append(f"messages.def: a row that is not made of literals: {english!r}")
            continue
        if english in table:
            wrong.append(f"messages.def: twice: {english}")
        table[english] = where
        if english not in said:
            wrong.append(f"messages.def: nobody says: {english}")
        if conversions(english) != conversions(chinese):
            wrong.append(f"messages.def: other arguments in Chinese: {english}")
        if not re.search(r"[\u4e00-\u9fff]", chinese):
            wrong.append(f"messages.def: no Chinese: {english}")
        if ASCII_MARK.search(chinese):
            wrong.append(f"messages.def: ASCII punctuation in Chinese: {chinese}")
        if kind == "MESSAGE" and not (where and page_exists(root, where)):
            wrong.append(f"messages.def: no such page {where}: {english}")
    missing = [text for text in said if text not in table]
    if "--missing" in sys.argv[2:]:
        for text in missing:
            print(f"{said[text].relative_to(root)}\t{text}")
        return 0
    wrong += [f"{said[text]}: not in messages.def: {text}" for text in missing]
    for line in wrong:
        print(line)
    print(f"{len(said)} sentences, {len(table)} rows, {len(wrong)} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
