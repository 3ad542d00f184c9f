import io

import datasets
import numpy as np
from PIL import Image

from eval.plots import draw_rankings, picture_opener, write_plots
from eval.statistics import Scored, Spearman
from eval.suite import Measurement


def png(picture):
    picture.save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


def test_an_undefined_figure_has_no_bar(tmp_path):
    ratings = Spearman(np.arange(4.0))
    good, flat = (
        Measurement(name, "t", "d", "metric", Scored(values, ratings))
        for name, values in (("a", np.array([0.1, 0.3, 0.2, 0.4])), ("b", np.ones(4)))
    )
    assert [path.name for path in write_plots(tmp_path, [[good], [flat]])] == ["t.png"]


def test_the_right_picture_is_framed_where_a_model_finds_it(tmp_path):
    texts = {"caption": ["a", "b", "c"], "paraphrase_1": ["d", "e", "f"]}
    pictures = [Image.new("RGB", (8, 8), (40 * i, 0, 200)) for i in range(3)]
    triples = datasets.Dataset.from_dict({"image_id": ["0", "1", "2"], **texts}).add_column(
        "image", [{"path": None, "bytes": png(picture)} for picture in pictures], feature=datasets.Image()
    )
    opened = picture_opener([triples])
    assert opened("2").getpixel((4, 4)) == (80, 0, 200)
    assert picture_opener([triples, triples.remove_columns("image")]) is None
    vectors = np.eye(3, dtype=np.float32)
    finds = {"base": np.repeat(vectors[:1, None], 3, axis=1), "tuned": np.repeat(-vectors[:1, None], 3, axis=1)}
    draw_rankings(tmp_path / "x.png", opened, triples.select([0]), (["0", "1", "2"], vectors), finds)
    with Image.open(tmp_path / "x.png") as sheet:
        frames = (np.asarray(sheet) == (0, 160, 0)).all(axis=2)
    base, tuned = (half.any(axis=0).nonzero()[0] for half in np.split(frames[: len(frames) // 2 * 2], 2))
    assert base.size and tuned.size
    assert base.max() < tuned.min()  # the first of its row, and the last
