import pytest

from dataset_builder.language import is_other_language, surely

ENGLISH = "a pair of dogs running by the sea"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        ("dogs with hats", "en"),  # no other language has such a word
        ("zwei Hunde laufen zusammen am Strand entlang", "de"),
        ("deux chiens courent le long de la plage", "fr"),
        ("homme dans Paris", None),  # three words say too little
    ],
)
def test_surely(text, language):
    assert surely(text) == language


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (ENGLISH, "zwei Hunde laufen zusammen am Strand entlang"),
        (ENGLISH, "\u4e24\u53ea\u72d7\u5728\u6d77\u6ee9\u4e0a\u5954\u8dd1"),  # by its script
        (ENGLISH, "\u0434\u0432\u0435 \u0441\u043e\u0431\u0430\u043a\u0438"),
    ],
)
def test_another_language_either_way(text, other):
    assert is_other_language(text, other)
    assert is_other_language(other, text)
    assert not is_other_language(text, text)
    assert not is_other_language(other, other)
