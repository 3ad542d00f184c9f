"""What is made of answers as models really write them: what is cleaned, and what is rejected for which reason."""

# ruff: noqa: RUF001 (typographic quotation marks are what models write)

import pytest

from dataset_builder.answers import clean_answer, clean_negative
from dataset_builder.filters import LONGEST, REASONS, Rejected

SOURCE = "two dogs run along the beach"
SAID = "a pair of dogs running by the sea"

CLEANED = [
    SAID,
    f"  {SAID}\n",
    f"{SAID}\n\n---",
    # quotation marks and emphasis
    f'"{SAID}"',
    f"“{SAID}”",
    f"'{SAID}'",
    f"‘{SAID}’",
    f"«{SAID}»",
    f"`{SAID}`",
    f"**{SAID}**",
    f"*{SAID}*",
    f"_{SAID}_",
    f'**"{SAID}"**',
    f'"{SAID}".',
    f'"{SAID}."',
    # preambles
    f"Here is a paraphrase: {SAID}",
    f'Here is a paraphrase:\n\n"{SAID}"',
    f'Here is a paraphrase "{SAID}"',
    f"Here's a concise paraphrase of the given caption:\n{SAID}",
    f"Here’s one way to put it: {SAID}",
    f"Here you go: {SAID}",
    f"Here you go:\n\n**{SAID}**",
    f"There you go: {SAID}",
    f"Sure! Here is a concise version: {SAID}",
    f"Sure, {SAID}",
    f"Sure thing! {SAID}",
    f"Certainly!\n\n{SAID}",
    f"Of course. Here is the paraphrased text:\n> {SAID}",
    f"Absolutely! You could say: {SAID}",
    f"You could say: {SAID}",
    f'You could say "{SAID}".',
    f"You might also say: {SAID}",
    f"One way to say it: {SAID}",
    f"It could be rephrased as: {SAID}",
    f"This can be paraphrased as: “{SAID}”",
    f"The caption could be rewritten as follows: {SAID}",
    f"I would say: {SAID}",
    f"I'd rephrase it as: {SAID}",
    f"How about: {SAID}",
    f"In other words: {SAID}",
    f"The following is a paraphrase: {SAID}",
    # labels
    f"Paraphrase: {SAID}",
    f"**Paraphrase:** {SAID}",
    f"**Paraphrase**: {SAID}",
    f"*Paraphrase:* {SAID}",
    f"__Paraphrase:__ {SAID}",
    f"**Paraphrase:**\n\n{SAID}",
    f"## Paraphrase\n\n{SAID}",
    f"# Paraphrased caption:\n{SAID}",
    f'Paraphrased caption: "{SAID}"',
    f"Revised caption: {SAID}",
    f"**Revised Caption:** {SAID}",
    f"Reworded version: {SAID}",
    f"Rewritten: {SAID}",
    f"Rephrased text: {SAID}",
    f"New caption: {SAID}",
    f"Alternative wording: {SAID}",
    f"A concise paraphrase would be: {SAID}",
    f"The paraphrased text is: {SAID}",
    f"Output: {SAID}",
    f"Final answer: {SAID}",
    f"Assistant: {SAID}",
    # lists of one
    f"- {SAID}",
    f"* {SAID}",
    f"• {SAID}",
    f"1. {SAID}",
    f"1) {SAID}",
    f"- **{SAID}**",
    # JSON
    f'{{"paraphrase": "{SAID}"}}',
    f'{{"caption": "{SOURCE}", "paraphrase": "{SAID}"}}',
    f'{{"step": 1, "text": "{SAID}"}}',
    f'["{SAID}"]',
    f'```json\n{{"paraphrase": "{SAID}"}}\n```',
    f"```\n{SAID}\n```",
    f'"{SAID}"\n',
    # chat templates gone wrong
    f"### Response:\n{SAID}",
    f"### Response: {SAID}",
    f"### Answer\n\n{SAID}",
    f"[/INST] {SAID}",
    f"[INST] a prompt [/INST] {SAID}</s>",
    f"{SAID}</s>",
    f"{SAID}<|im_end|>",
    f"{SAID}<|eot_id|>\n<|end_of_text|>",
    f"{SAID}<end_of_turn>\n",
    # thoughts
    f"<think>The user wants a paraphrase.</think>\n{SAID}",
    f"The user wants a paraphrase.\n</THINK>\n{SAID}",  # a chat template began the thought
    "<think>" + "Hm. " * LONGEST + f"</think>{SAID}",
    f"<think>\n\n</think>\n\n{SAID}",  # Qwen's, told not to think
    f"<thought>Dogs, beach.</thought>{SAID}",
    f"[THINK]Dogs, beach.[/THINK]{SAID}",
    f"<|channel|>analysis<|message|>Dogs.<|end|><|start|>assistant<|channel|>final<|message|>{SAID}<|return|>",
    f"analysisThe user wants a paraphrase.assistantfinal{SAID}",
]


@pytest.mark.parametrize("answer", CLEANED)
def test_cleaned(answer):
    assert clean_answer(answer, SOURCE).rstrip(".") == SAID


BAD_ANSWERS = [
    ("", "empty"),
    (None, "empty"),
    ("   \n ", "empty"),
    ('""', "empty"),
    ("...", "empty"),
    ("<think></think>", "empty"),
    ("Paraphrase:", "empty"),
    ("### Response:", "empty"),
    ("</s>", "empty"),
    ("{}", "empty"),
    ("[]", "empty"),
    ('{"paraphrase": ""}', "empty"),
    ("I'm sorry, but I can't help with that.", "refused"),
    ("I’m sorry, I cannot assist with this request.", "refused"),
    ("Sorry, but this caption is not appropriate.", "refused"),
    ("I cannot paraphrase this text.", "refused"),
    ("I can't do that.", "refused"),
    ("I must decline", "refused"),
    ("I must decline to paraphrase this caption.", "refused"),
    ("I have to respectfully decline.", "refused"),
    ("I respectfully decline this request.", "refused"),
    ("I am not comfortable with this.", "refused"),
    ("I don't feel comfortable paraphrasing this.", "refused"),
    ("I won't be able to help with that.", "refused"),
    ("As an AI language model, I do not see pictures.", "refused"),
    ("Unfortunately, I am unable to paraphrase this.", "refused"),
    ("I apologize, but I won't do this.", "refused"),
    ("My apologies, this is not something that I can write.", "refused"),
    ("Could you please provide the caption?", "refused"),
    ("Please provide the text to paraphrase.", "refused"),
    ("It seems that you haven't provided a caption.", "refused"),
    ("There is no caption to paraphrase.", "refused"),
    ("This request violates our usage policies.", "refused"),
    ("I need more context to paraphrase this.", "refused"),
    ("\"I'm sorry, but I can't help.\"", "refused"),
    ('{"paraphrase": "I cannot help with that."}', "refused"),
    ("dogs by the sea\ndogs on a shore", "several answers"),
    ("1. dogs by the sea\n2. dogs on a shore", "several answers"),
    ("- dogs by the sea\n- dogs on a shore", "several answers"),
    ('"dogs by the sea" or "dogs on a shore"', "several answers"),
    ('"dogs by the sea" / "dogs on a shore"', "several answers"),
    ("Option 1: dogs by the sea", "several answers"),
    ("Caption: two dogs at the beach. Paraphrase: dogs by the sea", "several answers"),
    ('["dogs by the sea", "dogs on a shore"]', "several answers"),
    ('{"first": "dogs by the sea", "second": "dogs on a shore"}', "several answers"),
    ("dogs by the sea\n\nNote that I kept the meaning.", "several answers"),
    ("dogs by the sea (I have replaced beach with sea)", "several answers"),
    ("dogs by the sea. Let me know if you want another!", "several answers"),
    ("dogs by the sea. Alternatively, dogs on a shore.", "several answers"),
    ('"two dogs running by the', "truncated"),
    ("“two dogs running by the", "truncated"),
    ("<think>The user wants", "truncated"),
    ("<thinking>The user wants", "truncated"),
    ('Paraphrase the given caption "two dogs" concisely', "echoed prompt"),
    ("two dogs by the sea, concisely while preserving the meaning", "echoed prompt"),
    ("dogs <b>by</b> the sea", "markup"),
    ("dogs by the sea https://example.com", "markup"),
    ("dogs [by](the sea) now", "markup"),
    ("dogs by the <|fim|> sea", "markup"),
    ("two dogs &amp; the sea", "markup"),
    ("dogs by {} the sea", "markup"),
    ("{dogs} by the sea", "markup"),
    ("[REDACTED]", "markup"),
    ("two [REDACTED] by the sea", "markup"),
    ("[number] dogs run by the sea", "markup"),
    ("two dogs by the ____", "markup"),
    ("<PERSON> and two dogs by the sea", "markup"),
    ("dogs by\x00 the sea", "control characters"),
    ("dogs by \ufffd the sea", "control characters"),
    ("dogs by \x1b[31m the sea", "control characters"),
    ("dogs by \u202e the sea", "control characters"),
    ("dogs by \u2066 the sea", "control characters"),
    ("两只狗在海滩上奔跑", "other language"),
    ("две собаки бегут по пляжу", "other language"),
    ("zwei Hunde laufen zusammen am Strand entlang", "other language"),
    ("deux chiens courent le long de la plage", "other language"),
    ("dos perros corren a lo largo de la playa", "other language"),
    ("a dog " * LONGEST, "too long"),
    ("<think>" * LONGEST, "truncated"),
]


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS)
def test_bad_answers(answer, reason):
    with pytest.raises(Rejected) as rejected:
        clean_answer(answer, SOURCE)
    assert rejected.value.reason == reason
    assert reason in REASONS


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("zwei Hunde laufen zusammen am Strand entlang", SAID),
        ("deux chiens courent le long de la plage", SAID),
        ("две собаки бегут по пляжу", SAID),
        ("两只狗在海滩上奔跑", SAID),
    ],
)
def test_an_answer_in_english_to_another_language(source, answer):
    with pytest.raises(Rejected, match="other language"):
        clean_answer(answer, source)


@pytest.mark.parametrize(("finish", "reason"), [("length", "truncated"), ("content_filter", "refused")])
def test_finish_reasons(finish, reason):
    with pytest.raises(Rejected, match=reason):
        clean_answer(SAID, SOURCE, finish)


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("I'm sorry sign on a door", "a door's sign says sorry"),
        ("I can't believe it sign on a wall", "I can't believe it on a wall's sign"),
        ('"stop" sign at the corner', '"stop" sign at a street corner'),
        ("'80s car in a garage", "'80s automobile in a garage"),
        ("output: a cat", "output: a kitten"),
        ("the caption: a dog", "the caption: a hound"),
        ("[sold] a red house", "[sold] a house in red"),
        ("a café in Köln", "a coffee house in Köln"),
        ("boy's bike by a tree", "a bicycle of a boy near a tree"),
        ("man in Paris", "homme à Paris"),  # three words say too little to be sure of a language
        ("un chien court dans le parc", "dans le parc, un chien est en train de courir"),
        ("a great view of the lake", "great lake view"),
        ("a sure shot in basketball", "a basketball shot that is sure to go in"),
        ("<PERSON> at a gala", "<PERSON> attends a gala"),
        ("a response team at work", "response team working"),
        ("this is a dog", "here is a dog"),
        ("a nice boy with a sign: hello", "a good boy with a sign that reads: hello"),
        ("what a caption in the book says", 'the caption "hello" in the book'),
    ],
)
def test_what_only_looks_bad_is_kept(source, answer):
    assert clean_answer(answer, source) == answer


def test_at_least_120_answers_are_tested():
    assert len(CLEANED) + len(BAD_ANSWERS) >= 120


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Changed caption: a cat runs", "a cat runs"),
        ('**Altered caption:** "a cat runs"', "a cat runs"),
        ('Here is the changed caption: "a cat runs".', "a cat runs."),
        ("a cat runs", "a cat runs"),
    ],
)
def test_what_names_an_answer_a_negative_is_taken_off(answer, text):
    assert clean_negative(answer, "a dog runs") == text


def test_a_caption_that_names_itself_so_keeps_it():
    assert clean_negative("negative image: a cat", "negative image: a dog") == "negative image: a cat"
