from dataset_builder.wording.reading import read


def test_what_is_read():
    reading = read("a man without a red hat rides a bike")
    assert reading.denies
    assert reading.negated == {"hat"}
    assert not [hit for hits in reading.hits.values() for hit in hits if hit.noun == "hat"]
    assert [reading.words[i] for i in reading.beings] == ["man"]


def test_a_word_has_its_sense_only_where_its_neighbours_allow_it():
    def senses(text):
        return {contrast.name for contrast in read(text).hits}

    assert "left" in senses("the door on the left")
    assert "left" not in senses("he left the house")
    assert "old" in senses("an old man")
    assert "old" not in senses("a two year old boy")
    assert "kg" in senses("5 kg of rice")
    assert "kg" not in senses("he pounds the table")
