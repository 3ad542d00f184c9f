from dataset_builder.wording.words import is_plural, stem, tokens


def test_tokens():
    assert tokens("twenty-five of 1,250 people") == ("25", "of", "1250", "people")
    assert tokens("half a dozen eggs, two hundred five") == ("6", "eggs", ",", "205")
    assert tokens("two three") == ("2", "3")
    assert tokens("a two-tone dog isn't the dog's") == (
        "a",
        "two-tone",
        "dog",
        "is",
        "not",
        "the",
        "dog's"[:3],
        "'",
        "s",
    )
    assert tokens("12 million") == ("12000000",)
    assert len(tokens("million " * 500)) > 1  # no number of thousands of digits


def test_stems():
    assert {stem(word) for word in ("run", "runs", "running")} == {"run"}
    assert {stem(word) for word in ("chase", "chases", "chased", "chasing")} == {"chas"}
    assert stem("men") == "man"
    assert stem("buses") == stem("bus")


def test_plurals():
    assert is_plural("dogs")
    assert is_plural("men")
    assert not is_plural("man")
