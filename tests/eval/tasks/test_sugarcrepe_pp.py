import json
import shutil

from eval.tasks.sugarcrepe_pp import sugarcrepe_pp
from tests.eval.samples import WORDS, pictures


def test_sugarcrepe_pp_is_its_description(folder, encoder):
    measured = {key: scored.values for key, scored in sugarcrepe_pp(encoder, folder).items()}
    for i in range(5):
        caption, paraphrase, negative = encoder.texts([WORDS[i], WORDS[i] + " there", WORDS[(i + 1) % 5]])
        image = encoder.pictures(pictures(folder, f"sugarcrepe_pp/images/{i}.png"))[0]
        text = caption @ paraphrase > max(caption @ negative, paraphrase @ negative)
        assert measured["SugarCrepe++ swap", "text_accuracy"][i] == text
        right = min(image @ caption, image @ paraphrase) > image @ negative
        assert measured["SugarCrepe++ swap", "image_accuracy"][i] == right


def test_the_authors_files_give_the_same(folder, encoder, tmp_path):
    expected = sugarcrepe_pp(encoder, folder)
    shutil.copytree(folder / "sugarcrepe_pp/images", tmp_path / "sugarcrepe_pp/images")
    lines = (folder / "sugarcrepe_pp/swap.tsv").read_text().splitlines()[1:]
    columns = ("filename", "caption", "caption2", "negative_caption")
    rows = [dict(zip(columns, line.split("\t")), id=i) for i, line in enumerate(lines)]
    (tmp_path / "sugarcrepe_pp/swap_obj.json").write_text(json.dumps(rows))
    for (_, metric), scored in sugarcrepe_pp(encoder, tmp_path).items():
        assert scored.values.tolist() == expected["SugarCrepe++ swap", metric].values.tolist()
        assert (scored.about.source, scored.about.share) == ("sugarcrepe_pp/swap_obj.json", (5, 245))


def test_a_negative_that_is_a_caption_ties(folder, encoder, tmp_path):
    """As some of the published ones are."""
    (tmp_path / "sugarcrepe_pp").mkdir()
    rows = [
        {"filename": "0.png", "caption": "a", "caption2": "b c", "negative_caption": negative}
        for negative in ("a", "b c")
    ]
    (tmp_path / "sugarcrepe_pp/x.json").write_text(json.dumps(rows))
    (scored,) = sugarcrepe_pp(encoder, tmp_path).values()
    assert scored.values.tolist() == [0, 0]
    assert scored.statistic.units.tolist() == [0, 0]
