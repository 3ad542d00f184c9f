import os
import sqlite3

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_paraclip import InputError, load_clip
from modeling_paraclip.embedding_cache import EmbeddingCache, embed_pictures, embed_texts, image_key


def test_key_changes_with_weights_config_and_processor_but_not_with_text(model, image_processor, tiny_clip):
    key = image_key(model, image_processor)
    with torch.no_grad():
        model.text_projection.weight += 1
        assert image_key(model, image_processor) == key
        model.visual_projection.weight[0, 0] += 1
        assert image_key(model, image_processor) != key
        model.visual_projection.weight[0, 0] -= 1
    model = load_clip(tiny_clip)
    model.config.vision_config.hidden_act = "gelu"
    assert image_key(model, image_processor) != key
    model = load_clip(tiny_clip)
    image_processor.image_mean = [0.5, 0.5, 0.5]
    assert image_key(model, image_processor) != key


def test_vectors_come_back_in_the_order_asked_for(tmp_path):
    vectors = np.arange(6, dtype=np.float16).reshape(3, 2)
    with EmbeddingCache(tmp_path / "deep" / "a.sqlite", np.float16) as cache:
        cache.put(list("abc"), vectors, list("abc"))
        assert cache.known() == set("abc")
        assert cache.get(list("caa")).tolist() == [[4, 5], [0, 1], [0, 1]]
        with pytest.raises(KeyError):
            cache.get(["z"])


def test_each_distinct_text_is_encoded_once(tmp_path):
    seen = []

    def encode(texts):
        seen.extend(texts)
        return np.array([[len(text)] for text in texts], np.float32)

    with EmbeddingCache(tmp_path / "a.sqlite", np.float32) as cache:
        assert embed_texts(["ab", "a", "ab"], encode, cache).tolist() == [[2], [1], [2]]
        assert embed_texts(["abc", "a"], encode, cache).tolist() == [[3], [1]]
    assert seen == ["ab", "a", "abc"]


@pytest.mark.parametrize("kind", ["no database", "truncated", "a folder"])
def test_a_damaged_file_is_one_sentence_with_its_path(kind, tmp_path):
    path = tmp_path / "a.sqlite"
    if kind == "a folder":
        path.mkdir()
    elif kind == "no database":
        path.write_bytes(b"not a database" * 100)
    else:
        with EmbeddingCache(path, np.float16) as cache:
            cache.put([str(i) for i in range(500)], np.ones((500, 64)), [""] * 500)
        path.write_bytes(path.read_bytes()[:30_000])
    message = r"the cache of embeddings .*a\.sqlite cannot be used: .*Remove the file"
    with pytest.raises(InputError, match=message), EmbeddingCache(path, np.float16) as cache:
        cache.get(sorted(cache.known()))


def test_vectors_of_several_lengths_are_damage(tmp_path):
    with EmbeddingCache(tmp_path / "a.sqlite", np.float16) as cache:
        cache.put(["a"], np.ones((1, 4)), ["a"])
        cache.put(["b"], np.ones((1, 5)), ["b"])
        with pytest.raises(InputError, match=r"a\.sqlite is damaged"):
            cache.get(["a", "b"])


def long_ago(path):
    os.utime(path, (10**9, 10**9))


def test_a_known_folder_is_not_read_again(pictures, tmp_path, monkeypatch):
    """By size, time and inode; a file that changed in one of them is."""
    for path in pictures:
        long_ago(path)
    given = [{"path": str(path), "bytes": None} for path in pictures]
    read = []

    def preprocess(picture):
        read.append(picture.size)
        return torch.ones(3, 2, 2)

    def run():
        read.clear()
        with EmbeddingCache(tmp_path / "cache.sqlite", np.float16) as cache:
            return embed_pictures(given, preprocess, lambda pixels: pixels.flatten(1), cache)[0]

    first = run()
    assert len(read) == 3
    opened, read_bytes = [], type(pictures[0]).read_bytes
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: opened.append(self) or read_bytes(self))
    assert run() == first
    assert not opened
    Image.new("RGB", (9, 9), "red").save(pictures[1])
    long_ago(pictures[1])
    assert run() != first
    assert opened == [pictures[1]]
    assert read == [(9, 9)]


def test_a_file_that_just_changed_is_not_trusted(pictures, tmp_path):
    """It may change once more without a new time stamp."""
    with EmbeddingCache(tmp_path / "a.sqlite", np.float16) as cache:
        long_ago(pictures[0])
        looked_like = {path: (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) for path in pictures}
        cache.put_files({str(path): (looked_like[path], path.name) for path in pictures})
        assert cache.unchanged_files([str(path) for path in pictures]) == {str(pictures[0]): "a.png"}


def test_a_file_that_changes_while_others_are_read_is_read_again(pictures, tmp_path):
    for path in pictures:
        long_ago(path)
    given = [{"path": str(path), "bytes": None} for path in pictures]
    replaced = ["red"]

    def replace_the_first(pixels):
        if replaced:
            Image.new("RGB", (9, 9), replaced.pop()).save(pictures[0])
            long_ago(pictures[0])
        return pixels.flatten(1)

    found = []
    for _ in range(2):
        with EmbeddingCache(tmp_path / "cache.sqlite", np.float16) as cache:
            found.append(embed_pictures(given, lambda p: torch.ones(3, 2, 2), replace_the_first, cache)[0])
    assert found[0][0] != found[1][0]
    assert found[0][1:] == found[1][1:]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])  # the last one is too large for float16
def test_a_vector_that_is_not_finite_is_not_kept(value, pictures, tmp_path):
    given = [{"path": str(path), "bytes": None} for path in pictures]

    def embed(pixels):
        vectors = torch.ones(len(pixels), 4)
        vectors[1, 2] = value
        return vectors

    with EmbeddingCache(tmp_path / "cache.sqlite", np.float16) as cache:
        with pytest.raises(InputError, match=r"vector of '.*b\.png' is not finite"):
            embed_pictures(given, lambda picture: torch.zeros(3, 2, 2), embed, cache)
        with pytest.raises(InputError, match="vector of 'two' is not finite"):
            embed_texts(["one", "two"], lambda texts: np.array([[1.0], [value]]), cache)
        assert not cache.known()
        assert not cache.unchanged_files([str(path) for path in pictures])


def test_a_vector_of_length_zero_is_not_kept(pictures, tmp_path):
    given = [{"path": str(path), "bytes": None} for path in pictures]
    with EmbeddingCache(tmp_path / "cache.sqlite", np.float16, "tiny") as cache:
        with pytest.raises(InputError, match=r"tiny's vector of '.*a\.png' is zero"):
            embed_pictures(given, lambda picture: torch.zeros(3, 2, 2), lambda pixels: pixels.flatten(1), cache)
        with pytest.raises(InputError, match="tiny's vector of 'two' is zero"):
            embed_texts(["one", "two"], lambda texts: np.array([[1.0], [1e-9]]), cache)  # zero in float16
        assert not cache.known()


@pytest.mark.parametrize("blob", [b"", b"123", bytes(4), "text", 7])
def test_a_damaged_vector_is_one_sentence(blob, tmp_path):
    path = tmp_path / "cache.sqlite"
    with EmbeddingCache(path, np.float16) as cache:
        cache.put(["a", "b"], np.ones((2, 2)), ["a", "b"])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE embeddings SET vector = ? WHERE digest = 'a'", (blob,))
    with EmbeddingCache(path, np.float16) as cache, pytest.raises(InputError, match=r"cache\.sqlite is damaged"):
        cache.get(["b", "a"])


def test_a_cache_that_cannot_grow_is_one_sentence(tmp_path):
    with EmbeddingCache(tmp_path / "cache.sqlite", np.float16) as cache:
        cache._connection.execute("PRAGMA max_page_count = 8")  # as a full disk: SQLITE_FULL
        with pytest.raises(
            InputError, match=r"cache\.sqlite cannot be used: database or disk is full\. .* another folder"
        ):
            cache.put([str(i) for i in range(500)], np.ones((500, 64)), [""] * 500)
        assert not cache.known()
