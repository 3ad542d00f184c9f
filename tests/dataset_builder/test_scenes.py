"""What makes the embedded evaluation honest, checked on the texts themselves and not on how they were made."""

import itertools
import re

import pytest

from dataset_builder import InputError, load_scenes, scenes

COLUMNS = ("caption", "paraphrase_1", "paraphrase_2")


@pytest.fixture(scope="module")
def splits():
    """More training text than `load_scenes` makes and than the base CLIP saw of any wording."""
    sizes = {"train": 24_000, "validation": 500, "test": 500, "test_unseen": 500}
    return {split: texts_only(split, n) for split, n in sizes.items()}


def texts_only(split, n):
    draw, scenes.draw_scene = scenes.draw_scene, lambda scene, rng: None
    try:
        return list(scenes.generate(split, n))
    finally:
        scenes.draw_scene = draw


def words_of(lexicon, level=None):
    for caption_word, synonyms, unseen in lexicon.values():
        yield from {None: (caption_word, *synonyms, unseen), "unseen": (unseen,)}[level]


def find(phrases, text):
    """The phrases that occur in text as whole words, longest first so that none is found inside another."""
    found = []
    for phrase in sorted(phrases, key=len, reverse=True):
        pattern = rf"(?<![\w-]){re.escape(phrase)}(?![\w-])"
        found += re.findall(pattern, text)
        text = re.sub(pattern, "#", text)
    return found


NOUNS = {form: noun for noun in words_of(scenes.SHAPES) for form in (noun, scenes._plural(noun))}
PHRASES = [w for lexicon in (scenes.RELATIONS, scenes.TRAITS, scenes.BACKGROUNDS) for w in words_of(lexicon)]


def combinations_in(text):
    """Every (colour, noun, relation) whose three parts occur in the text: a superset of those it states."""
    colours = find(words_of(scenes.COLOURS), text)
    nouns = [NOUNS[form] for form in find(NOUNS, text)]
    relations = find(words_of(scenes.RELATIONS), text)
    return set(itertools.product(colours, nouns, relations))


def stated_combinations(text):
    """The (colour, noun, relation) triples of the things themselves: each noun with the colour next to it."""
    relation = find(words_of(scenes.RELATIONS), text)[0]
    colours = "|".join(sorted(words_of(scenes.COLOURS), key=len, reverse=True))
    nouns = "|".join(sorted(NOUNS, key=len, reverse=True))
    before = re.findall(rf"\b({colours}) ({nouns})\b", text)
    after = [(colour, noun) for noun, colour in re.findall(rf"\b({nouns}) in ({colours})\b", text)]
    return {(colour, NOUNS[noun], relation) for colour, noun in before + after}


def skeleton(text):
    """The text with every word of the lexicon replaced by its kind: what is left is the template."""
    for kind, lexicon in [
        ("R", scenes.RELATIONS), ("G", scenes.BACKGROUNDS), ("T", scenes.TRAITS), ("C", scenes.COLOURS)
    ]:  # fmt: skip
        for phrase in sorted(words_of(lexicon), key=len, reverse=True):
            text = re.sub(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", kind, text)
    for noun in sorted(NOUNS, key=len, reverse=True):
        text = re.sub(rf"\b{noun}\b", "N", text)
    text = re.sub(r"\b(an?) (?=[TCN])|\bT (?=[CN])", "", text)
    text = re.sub(r"N in C|C N", "X", text)
    return re.sub(r"\d+", "0", text)


def test_no_evaluation_wording_in_training_text(splits):
    training = {row[column] for row in splits["train"] for column in COLUMNS}
    for split in ("validation", "test", "test_unseen"):
        assert not training & {row[column] for row in splits[split] for column in COLUMNS}


@pytest.mark.slow
def test_no_evaluation_template_in_training_text(splits):
    training = {skeleton(row[column]) for row in splits["train"] for column in COLUMNS}
    rewordings = [row[c] for s in ("test", "test_unseen") for row in splits[s] for c in COLUMNS[1:]]
    evaluation = {skeleton(text) for text in rewordings}
    assert len(evaluation) == len(scenes.HELD_OUT_TEMPLATES)  # the skeleton does see through the words
    assert not training & evaluation


@pytest.mark.slow
def test_no_held_out_combination_in_training_text(splits):
    held_out = set()
    for split in ("test", "test_unseen"):
        for row in splits[split]:
            for column in COLUMNS[1:]:
                in_text = {c for c in stated_combinations(row[column]) if scenes.is_held_out(*c)}
                assert in_text, f"no held-out combination in {row[column]!r}"
                held_out |= in_text
    assert len(held_out) > 300
    for split in ("train", "validation"):
        for row in splits[split]:
            for column in COLUMNS:
                assert not stated_combinations(row[column]) & held_out, row[column]


def test_the_check_above_sees_combinations():
    assert stated_combinations("a tiny valentine in scarlet beneath two snowy plus sign") >= {
        ("scarlet", "valentine", "beneath")
    }
    assert stated_combinations("please show me three azure boxes lying left of an ebony loop on turf") == {
        ("azure", "box", "left of"),
        ("ebony", "loop", "left of"),
    }


@pytest.mark.slow
def test_unseen_synonyms_are_unseen(splits):
    lexicons = (scenes.COLOURS, scenes.SHAPES, scenes.RELATIONS, scenes.TRAITS, scenes.BACKGROUNDS)
    unseen = [word for lexicon in lexicons for word in words_of(lexicon, "unseen")]
    unseen += [scenes._plural(word) for word in words_of(scenes.SHAPES, "unseen")]
    for split in ("train", "validation", "test"):
        text = "\n".join(row[column] for row in splits[split] for column in COLUMNS)
        assert not find(unseen, text)
    assert all(find(unseen, row[column]) for row in splits["test_unseen"] for column in COLUMNS[1:])


def test_synonyms_of_the_test_split_are_all_trained(splits):
    trained = set(re.findall(r"[\w-]+", " ".join(row[c] for row in splits["train"] for c in COLUMNS)))
    lexicons = (scenes.COLOURS, scenes.SHAPES, scenes.RELATIONS, scenes.TRAITS, scenes.BACKGROUNDS)
    for lexicon in lexicons:
        for _, synonyms, _ in lexicon.values():
            assert set(" ".join(synonyms).split()) <= trained


def test_captions_have_2_to_15_words(splits):
    assert all(2 <= len(row["caption"].split()) <= 15 for rows in splits.values() for row in rows)


def test_no_two_scenes_are_the_same_and_there_are_more_than_20k(splits):
    assert len({row["image_id"] for row in splits["train"]}) == 24_000
    first = list(scenes.generate("train", 300))
    assert len({row["image"].tobytes() for row in first}) == 300


def test_deterministic_and_a_longer_corpus_begins_with_the_shorter():
    short, long = list(scenes.generate("test", 3, seed=7)), list(scenes.generate("test", 5, seed=7))
    for a, b in zip(short, long):
        assert a.pop("image").tobytes() == b.pop("image").tobytes()
        assert a == b
    assert next(scenes.generate("test", 1, seed=8))["caption"] != short[0]["caption"]


def test_errors():
    with pytest.raises(InputError, match="Unknown split"):
        next(scenes.generate("dev", 1))
    with pytest.raises(InputError, match="fewer than 5000 distinct scenes"):
        texts_only("test", 5000)


def test_builder_gives_the_same_rows():
    corpus = load_scenes(num_train=6, num_eval=4)
    assert {name: len(split) for name, split in corpus.items()} == {
        "train": 6, "validation": 4, "test": 4, "test_unseen": 4
    }  # fmt: skip
    row = next(scenes.generate("test", 1))
    assert corpus["test"][0]["image"].tobytes() == row.pop("image").tobytes()
    assert {key: corpus["test"][0][key] for key in row} == row
