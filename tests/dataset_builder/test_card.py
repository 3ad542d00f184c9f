"""The card of a corpus: what it says, what it keeps of others, and that no text breaks out of it."""

import re
from collections import Counter

import datasets
import pytest
from huggingface_hub import DatasetCard

from dataset_builder import InputError
from dataset_builder.card import SECTION, cell, code, make_card, measured_languages

from .conftest import RECIPE

STATISTICS = {
    "rows": {"done": 59, "rejected": 2, "failed": 1},
    "reasons": {"caption: too few words": 2, "step 1: time-out": 1},
    "answers": 120,
    "tokens_in": 4800,
    "tokens_out": 1800,
    "recipes": [
        {**RECIPE, "rows": 9},
        {**RECIPE, "model": "writer-2", "rows": 50},
        {**RECIPE, "rows": 0, "model": "none"},
    ],
    "source": {"dataset": "org/captions", "config": "en", "split": "train", "revision": "c0ffee", "where": "a == 1"},
}
ROW = {"caption": "a dog", "paraphrase_1": "one dog", "paraphrase_2": "a hound"}


def card_of(old=None, statistics=STATISTICS, rows=(ROW,), languages=None, sizes=None, **options):
    info = datasets.DatasetInfo(
        features=datasets.Features({"caption": datasets.Value("string")}), splits=datasets.SplitDict()
    )
    for name, count in (sizes or {"train": 50, "validation": 9}).items():
        info.splits.add(datasets.SplitInfo(name, 10 * count, count))
    options = {"license": "cc-by-4.0", "config_name": "default"} | options
    languages = Counter({"en": 1} if languages is None else languages)
    return make_card("org/pairs", statistics, info, list(rows), languages, old=old, **options)


def test_the_card_says_how_it_was_made():
    card = card_of(languages={"en": 95, "de": 6, "fr": 1, None: 3})
    for text in (
        'load_dataset("org/pairs", "default")',
        "from:** the data set `org/captions`, config `en`, split `train`, revision `c0ffee`, where `a == 1`",
        "**Languages:** en 90.5%, de 5.7%, fr 1.0%, not sure 2.9%, as py3langid tells them of 105",
        "| train | 50 |",
        "| a dog | one dog | a hound |",
        "Recipe 1 of 2, in the order they ran. 9 rows:",
        "model `writer-1`",
        "Recipe 2 of 2, in the order they ran. 50 rows:",
        "model `writer-2`",
        "temperature 1.0",
        "**Step 2:** `Say {} once more`",
        "Not checked&#58; similarity",
        "59 of 62 captions have their paraphrases",
        "| caption&#58; too few words | 2 | fewer than the paper's 2 words |",
        "| step 1&#58; time-out | 1 | tried again by the next run |",
    ):
        assert text in card.text, text
    assert "model `none`" not in card.text  # which finished nothing
    header = card.data.to_dict()
    assert header["language"] == ["en", "de"]
    assert header["source_datasets"] == ["org/captions"]
    assert (header["license"], header["size_categories"]) == ("cc-by-4.0", "n<1K")
    assert "sentence-similarity" in header["task_categories"]
    assert header["dataset_info"]["features"] == [{"name": "caption", "dtype": "string"}]
    assert [split["num_examples"] for split in header["dataset_info"]["splits"]] == [50, 9]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "not recorded"),
        ({"files": [{"name": f"{i}.tar", "bytes": 1000} for i in range(7)]},
         "7 files of 7,000 bytes: `0.tar`, `1.tar`, `2.tar`, `3.tar`, `4.tar` ..."),
        ({"files": [{"name": "c.csv", "bytes": 9}], "caption_column": "TEXT", "limit": 5000},
         "1 file of 9 bytes: `c.csv`, column `TEXT`, the first 5,000 rows"),
    ],
)  # fmt: skip
def test_where_captions_came_from(source, said):
    card = card_of(statistics={**STATISTICS, "source": source})
    assert f"- **Captions from:** {said}\n" in card.text
    assert "source_datasets" not in card.data.to_dict()


@pytest.mark.parametrize(("count", "category"), [(999, "n<1K"), (1000, "1K<n<10K"), (5 * 10**6, "1M<n<10M")])
def test_size_categories(count, category):
    assert card_of(sizes={"train": count}).data["size_categories"] == category


def test_languages_are_measured():
    german = "ein brauner Hund spielt auf der Wiese mit einem Ball"
    rows = [{"caption": "a brown dog with a ball", "paraphrase_1": german, "paraphrase_2": "dog"}] * 3
    assert measured_languages(rows) == {"en": 3, "de": 3, None: 3}
    assert "**Languages:** not measured" in card_of(languages=Counter()).text


def test_what_others_wrote_is_kept():
    header = "license: mit\nlanguage: fr\ntags: [mine]\nconfigs:\n- config_name: own\n  data_files: own/*.csv"
    old = f"---\n{header}\n---\n# Mine\n\ntext"
    card = DatasetCard(str(card_of(old)))
    assert card.text.strip().startswith("# Mine\n\ntext\n\n<!-- paraclip")
    header = card.data.to_dict()
    assert (header["license"], header["language"]) == (["mit", "cc-by-4.0"], ["fr", "en"])
    assert [config["config_name"] for config in header["configs"]] == ["default", "own"]
    assert header["tags"][0] == "mine"
    again = DatasetCard(str(card_of(str(card), license="cc0-1.0", sizes={"train": 7})))
    # whose the licences of a header were that has other configs is not known: none is dropped
    assert again.data.to_dict()["license"] == ["mit", "cc-by-4.0", "cc0-1.0"]
    assert again.text.count("## Config") == 1
    assert "| train | 7 |" in again.text


def test_three_configs_in_any_order():
    card = None
    for name, license in (("b", "mit"), ("a", "cc0-1.0"), ("c", "mit"), ("b", "cc-by-4.0")):
        card = str(card_of(card, config_name=name, license=license, sizes={"train": 600}))
    card = DatasetCard(card)
    assert re.findall(r"## Config `(.)`", card.text) == ["b", "a", "c"]
    assert re.findall(r"Licence:\*\* (\S+)", card.text) == ["cc-by-4.0", "cc0-1.0", "mit"]
    assert card.data["license"] == ["cc0-1.0", "mit", "cc-by-4.0"]
    assert card.data["size_categories"] == "1K<n<10K"
    assert [info["config_name"] for info in card.data["dataset_info"]] == ["a", "b", "c"]


def test_the_card_of_version_0_2_is_made_new():
    old = "---\nconfigs:\n- config_name: {}\n  data_files: x/*\n---\n# pairs\n\nOld.\n\nMade with ParaCLIP.\n"
    assert "Old." not in card_of(old.format("default")).text
    assert "Old." in card_of(old.format("other")).text


@pytest.mark.parametrize("header", ["[", "- a", "configs: 3", "configs:\n- a", "dataset_info: [3]"])
def test_a_header_that_cannot_be_read_is_one_sentence(header):
    with pytest.raises(
        InputError, match=r"org/pairs: its README\.md on the Hub has no valid header: .*\. Mend it there\."
    ):
        card_of(f"---\n{header}\n---\n")


HOSTILE = "a | `b` <img src=x onerror=1> {{ 7 * 7 }} {% raw %}\n---\n# *c* _d_ [e](http://f) \x1b[31m \u202e www.g.com"
END = "<!-- end of paraclip config --> <!-- paraclip {} -->"


@pytest.mark.parametrize("text", [HOSTILE, END, f"x --> {HOSTILE}"])
def test_no_text_breaks_out_of_the_card(text):
    recipe = {**RECIPE, "generator": text, "model": text, "sampling": {text: text}, "prompts": [text] * 2, "rows": 1}
    source = {"dataset": text, "where": text, "files": [{"name": text, "bytes": 1}]}
    hostile = {**STATISTICS, "recipes": [recipe], "reasons": {text: 1}, "source": source}
    row = dict.fromkeys(("caption", "paraphrase_1", "paraphrase_2"), text)
    license = f"other: [{text}"
    card = card_of(str(card_of(None, hostile, [row], license=license)), hostile, [row], license=license)
    again = DatasetCard(str(card))
    assert again.data.license == license
    assert len(SECTION.findall(again.text)) == again.text.count("<!-- end of paraclip config -->") == 1
    assert "\x1b" not in card.text
    assert "\u202e" not in card.text
    assert "49" not in card.text
    tables = [line for line in card.text.splitlines() if line.startswith("|") and cell(text) in line]
    assert [line.count("|") for line in tables] == [4, 4]  # three cells each
    outside_code = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)|<!-- paraclip .*", "", card.text)
    for markup in ("<img", "{{", "[e](", "*c*", "_d_", "http://f", "www.g.com"):
        assert markup not in outside_code, markup
    assert not re.search(r"^# \*c", card.text, re.MULTILINE)


def test_code_that_holds_code():
    assert [code(text) for text in ("a", "a `b`", "`", "``a")] == ["`a`", "`` a `b` ``", "`` ` ``", "``` ``a ```"]


def test_the_card_says_how_negatives_were_made():
    recipe = {**RECIPE, "prompts": [*RECIPE["prompts"], "Change {}"], "negative_filters": 1, "rows": 59}
    counts = {"negatives": {"done": 50, "rejected": 9}, "negative_reasons": {"step 3: unrelated": 9}}
    rows = [{**ROW, "negative": "a cat"}, {**ROW, "negative": None}]
    text = card_of(statistics={**STATISTICS, "recipes": [recipe], **counts}, rows=rows).text
    for said in (
        "| `negative` | in configs that have it",
        "| caption | paraphrase_1 | paraphrase_2 | negative |\n| --- | --- | --- | --- |\n"
        "| a dog | one dog | a hound | a cat |\n| a dog | one dog | a hound |  |\n",
        "- **Step 2:** `Say {} once more`\n- **Step 3**, of the caption, for `negative`: `Change {}`\n- **Checks:**\n",
        "Negatives (version 1 of their filters)",
        "50 of 59 negatives were kept. The others, by reason:",
        "| step 3&#58; unrelated | 9 | a negative that shares too few words",
    ):
        assert said in text, said
    assert "egative" not in card_of().text
