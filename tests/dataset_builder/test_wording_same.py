"""What only looks like a negative: the same said in another order, or less."""

import pytest

from dataset_builder.wording import says_the_same, shared_words


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("a dog and a cat run", "a cat and a dog run"),
        ("a black and white dog", "a white and black dog"),
        ("a man next to a red car", "a red car next to a man"),
        ("a dog runs on the beach", "on the beach, a dog runs"),
        ("a man rides a bike", "a guy rides a bicycle"),
        ("a small dog runs on the beach", "a dog runs"),
        ("two dogs run", "dogs run"),
    ],
)
def test_the_same_in_another_order_or_less_of_it(text, other):
    assert says_the_same(text, other)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("a dog chases a cat", "a cat chases a dog"),
        ("a boy looks at a mirror", "a mirror looks at a boy"),
        ("a red hat and a blue coat", "a blue hat and a red coat"),
        ("a red hat and coat", "a red coat and hat"),
        ("a dog runs", "a dog does not run"),
        ("a man without a hat", "a man with a hat"),
        ("two dogs run", "three dogs run"),
        ("a child is held by two women", "a child is holding two women"),
        ("a dog runs", "a brown dog runs"),  # it may be true, and is not known to be
    ],
)
def test_what_differs_or_may_differ(text, other):
    assert not says_the_same(text, other)


def test_words_in_common_whatever_their_order():
    assert shared_words("a dog chases a cat", "a cat chases a dog") == 1
    assert shared_words("a dog", "a cat") == 0.5
    assert shared_words("a child runs", "an adult runs") == pytest.approx(2 / 3)
    assert shared_words("a dog runs on the beach", "a plane lands in the desert") == pytest.approx(1 / 3)
    assert shared_words("", "") == 0
