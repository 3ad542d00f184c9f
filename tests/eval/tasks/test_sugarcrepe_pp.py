from eval.tasks.sugarcrepe_pp import sugarcrepe_pp
from tests.eval.samples import WORDS, pictures


def test_sugarcrepe_pp_is_its_description(folder, encoder):
    measured = sugarcrepe_pp(encoder, folder)
    for i in range(5):
        caption, paraphrase, negative = encoder.texts([WORDS[i], WORDS[i] + " there", WORDS[(i + 1) % 5]])
        image = encoder.pictures(pictures(folder, f"sugarcrepe_pp/images/{i}.png"))[0]
        text = caption @ paraphrase > max(caption @ negative, paraphrase @ negative)
        assert measured["SugarCrepe++ swap", "text_accuracy"][i] == text
        right = min(image @ caption, image @ paraphrase) > image @ negative
        assert measured["SugarCrepe++ swap", "image_accuracy"][i] == right
