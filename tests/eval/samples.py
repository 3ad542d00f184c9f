"""Words, pictures and files that the tests of the tasks share."""

import json

WORDS = ["a red circle", "two blue stars", "a green ring on sand", "the black moon", "one white square left of a disc"]


def pictures(folder, *names):
    return [{"path": str(folder / name), "bytes": None} for name in names]


def write_jsonl(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_tsv(file, header, rows):
    file.write_text("".join("\t".join(map(str, line)) + "\n" for line in [header, *rows]))


# What spoils a copy of the data, for the fixture `refused`.


def replace(file, old, new):
    def spoil(root):
        content = (root / file).read_bytes()
        assert old in content
        (root / file).write_bytes(content.replace(old, new, 1))

    return spoil


def write(file, content):
    return lambda root: (root / file).write_bytes(content)
