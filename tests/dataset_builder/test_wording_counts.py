from dataset_builder.wording.counts import counts, counts_differ


def test_counts():
    said = counts("a pair of dogs, a trio of cats and the 2nd of 12 birds")
    assert said.needs == {"2", "3", "12"}
    assert said.order == {"2th"}
    assert "5" in said.offers
    assert counts("a pair of jeans").needs == frozenset()


def test_texts_that_add_up():
    assert not counts_differ("two boys and a girl", "three children")
    assert not counts_differ("a brown and a black dog", "two dogs")
    assert counts_differ("six swans on a pond", "seven swans")
