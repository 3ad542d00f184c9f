"""What a language model really said: its answer without quotes, preamble, bullet or thoughts, or why it is none."""

# ruff: noqa: RUF001 (typographic quotation marks are what models write)

from __future__ import annotations

import json
import re

from .filters import PERSON, Rejected, check_characters, normalized
from .language import is_other_language

# Keep these linear: a repetition is bounded, or followed by what it cannot match.
# How models mark their thoughts: Qwen and most others, Mistral's, Kimi's, gpt-oss's (also without its special tokens),
# Gemma's
_THOUGHT = re.compile(
    r"(?:<\|start\|>assistant)?(?:<(?:think|thinking|thought|reasoning|seed:think)>|\[THINK\]|◁think▷"
    r"|<\|channel\|>(?:analysis|commentary)|analysis(?=[a-z])|<\|channel>thought)",
    re.IGNORECASE,
)
_THOUGHT_END = re.compile(
    r"</(?:think|thinking|thought|reasoning|seed:think)>|\[/THINK\]|◁/think▷"
    r"|<\|channel\|>final<\|message\|>|assistantfinal|<channel\|>",
    re.IGNORECASE,
)
# What ends the prompt, or the answer, where a chat template went wrong.
_PROMPT_END = re.compile(
    r"\[/INST\]|#{1,6} *(?:response|output|answer|assistant|paraphrased?(?: \w{1,20})?) *:?", re.IGNORECASE
)
_END = re.compile(r"(?:</s>|<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|return|end)\|>|<end_of_turn>)$")
_INSTRUCTION = re.compile(
    r"paraphrase the given|preserving (?:the|its) meaning|avoiding use of existing words", re.IGNORECASE
)

# With straight apostrophes.
_SORRY = r"(?:unfortunately,? |sorry,? (?:but )?|apologies,? (?:but )?|thank you[^.]{0,60}, but )?"
_REFUSAL = re.compile(
    rf"{_SORRY}i(?:'m| am) (?:really |very |so |afraid |truly )?(?:sorry|unable|not able|not comfortable|just an ai)"
    rf"|{_SORRY}i (?:can't|cannot|cant|can not|could ?n[o']t|won't|will not|regret|apologi[sz]e|decline|refuse"
    r"|need (?:more|the) |(?:must|have to|need to) (?:respectfully )?(?:decline|refuse|ask)|respectfully decline"
    r"|(?:do not|don't) (?:feel comfortable|have (?:access|enough)|see an?y? (?:caption|text)))"
    r"|sorry,? (?:but|i)|my apologies|as an? (?:ai|artificial|large language|language model)"
    r"|(?:please|could you|can you) (?:please )?(?:provide|share|give me|clarify|tell me)"
    r"|(?:it (?:seems|looks like|appears) )?(?:that )?"
    r"(?:there is no|you (?:have not|haven't|did not|didn't)) (?:caption|text|provide)"
    r"|(?:this|the) (?:request|caption|content|text|prompt) "
    r"(?:is (?:inappropriate|not appropriate)|violates|goes against|cannot be)"
    r"|no (?:caption|text) (?:was |is )?(?:provided|given)",
    re.IGNORECASE,
)

_SURE = (
    r"(?:sure|certainly|of course|absolutely|definitely|great|okay|ok|no problem|gladly|happy to help|yes)(?: thing)?"
)
_LEAD = (
    r"(?:here's|here is|here are|here you (?:go|are)|there you go|this is|the following is|how about|try this"
    r"|in other words|you (?:could|can|might|may) (?:also )?say|one (?:way|option|possibility)"
    r"|(?:it|this|that|the (?:given )?(?:caption|text)) (?:could|can|might|may) be"
    r"|(?:i would|i'd|i might) (?:say|paraphrase|rephrase|put it|suggest)"
    r"|a (?:good|possible|concise) (?:paraphrase|rewording|version|way|alternative))"
    r"\b[^:\n\"“]{0,100}"
)
_LABEL = (
    r"(?:(?:the|this|that|a|an|my|your|one|possible|concise|short|shorter|brief|final|new|given|alternative|simple|better"
    r"|paraphras(?:e|ed|es|ing)|rephras(?:e|ed|ing)|rewor(?:d|ded|ding)|re-?writ(?:e|ten|ing)|reformulat(?:ed|ion)"
    r"|revis(?:ed|ion)|restate(?:d|ment)|updated|modified|improved|simplified|caption|text|version|sentence|phrase"
    r"|description|wording|output|answer|response|result|assistant|of|could|would|might|can|may|be|is|as|follows)"
    r"\b[ -]?){1,9}"
)
# "Sure! **Revised caption:**", "You could say:", or one of these before a quotation or a line of its own
_PREAMBLE = re.compile(
    rf"(?:{_SURE}(?: *[!,.:]\s*|\s+(?=here)))?(?:[#*_>\s]{{0,8}}(?:"
    rf"(?:{_LEAD}|{_LABEL})[*_]{{0,3}}\s*:[*_]{{0,3}}\s*"
    rf"|{_LEAD}(?=[\"“][^\"“”]*[\"”]\W*$)"
    rf"|{_LABEL}\n\s*))?",
    re.IGNORECASE,
)
# "Caption: ... Paraphrase: ..." in one line
_SECOND_LABEL = re.compile(
    r"\b(?:paraphrase|paraphrased|rephrased|rewritten|reworded|answer|output)(?: \w{1,20})? ?\*{0,2}:", re.IGNORECASE
)
# "Changed caption: ..."
_CHANGED = re.compile(
    r"\**(?:the |a )?(?:changed|altered|edited|different|negative|contrasting)(?: \w{1,20})? ?\**: *\**", re.IGNORECASE
)
_PLACEHOLDER = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}|_{3,}|\bX{3,}\b")
_FENCE = re.compile(r"```\w{0,20}\s*([^`]*)```")
_LIST_ITEM = re.compile(r"^(?:[-*•>]|\(?\d{1,2}[.)])\s+")
_EXPLANATION = re.compile(
    r"\b(?:note that|explanation|alternatively|or simply|another option|in this paraphrase"
    r"|i (?:have )?(?:replaced|changed|used)"
    r"|let me know|hope this helps|option \d)\b",
    re.IGNORECASE,
)
_ALTERNATIVES = re.compile(r"[\"”]\s*(?:or|/|,|;)\s*[\"“]", re.IGNORECASE)
_QUOTES = {'"': '"', "“": "”", "'": "'", "‘": "’", "«": "»", "`": "`", "**": "**", "*": "*", "_": "_"}


def clean_answer(answer: str | None, source: str, finish_reason: str = "stop") -> str:
    """Return what a language model answered, without quotes, preamble, bullet or thoughts. Raises Rejected.

    Only what is certain is removed: an answer with several candidates is rejected, and never guessed at.

    Args:
        answer: the message's content.
        source: the text it was to paraphrase.
        finish_reason: as the chat completions API gives it.
    """
    if finish_reason == "length":
        raise Rejected("truncated")
    if finish_reason == "content_filter":
        raise Rejected("refused")
    # what comes before the last end of a thought is thought; some chat templates leave its beginning out
    said = _THOUGHT_END.split(answer or "")[-1].strip()
    if _THOUGHT.match(said[:40]):
        raise Rejected("truncated")
    text = _without_template(normalized(said), source)
    if not text:
        raise Rejected("empty")
    if _INSTRUCTION.search(text) and not _INSTRUCTION.search(source):
        raise Rejected("echoed prompt")
    _check_refusal(text, source)
    text = _one_line(_without_preamble(_out_of_json(text, source), source), source)
    text = _unquoted(" ".join(text.split()), source)
    if not re.search(r"\w", text):
        raise Rejected("empty")
    check_characters(text.replace(PERSON, "", source.count(PERSON)))
    if _PLACEHOLDER.search(text) and not _PLACEHOLDER.search(source):
        raise Rejected("markup")
    _check_refusal(text, source)
    if is_other_language(text, source):
        raise Rejected("other language")
    return text


def clean_negative(answer: str | None, source: str, finish_reason: str = "stop") -> str:
    """Do as `clean_answer`, where the answer is a negative of the text; what names it one is taken off, too."""
    text = clean_answer(answer, source, finish_reason)
    found = None if _CHANGED.match(source) else _CHANGED.match(text)
    return _unquoted(text[found.end() :].strip(), source) if found else text


def _without_template(text: str, source: str) -> str:
    """The text without what a chat template that went wrong leaves around it."""
    if not _PROMPT_END.search(source):
        text = _PROMPT_END.split(text)[-1].strip()
    while (shorter := _END.sub("", text).strip()) != text:
        text = shorter
    return text


def _check_refusal(text: str, source: str) -> None:
    if _REFUSAL.match(_straight(text)) and not _REFUSAL.match(_straight(source)):
        raise Rejected("refused")


def _straight(text: str) -> str:
    return text.replace("’", "'")


def _out_of_json(text: str, source: str) -> str:
    """The only text in a JSON object or array, which may stand between fences. Raises Rejected if there are more."""
    if source.startswith(("{", "[", "`")):
        return text
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if not text.startswith(("{", "[")):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text  # the check for placeholders decides
    values = value.values() if isinstance(value, dict) else value
    texts = [text for text in values if isinstance(text, str) and text.strip() and text.strip() != source]
    if len(texts) != 1:
        raise Rejected("several answers" if texts else "empty")
    return texts[0].strip()


def _without_preamble(text: str, source: str) -> str:
    """The text without "Here is ...:", unless its source begins so too."""
    own = _PREAMBLE.match(_straight(source))
    found = _PREAMBLE.match(_straight(text))
    return text[found.end() :].strip() if found and not (own and own.group()) else text


def _one_line(text: str, source: str) -> str:
    """The only line of the text, without a bullet. Raises Rejected if there are more, or several answers in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" \t-_*=")]
    if not lines:
        raise Rejected("empty")
    explained = _EXPLANATION.search(text) and not _EXPLANATION.search(source)
    labelled = _SECOND_LABEL.search(text) and not _SECOND_LABEL.search(source)
    if len(lines) > 1 or _ALTERNATIVES.search(text) or explained or labelled:
        raise Rejected("several answers")
    return lines[0] if _LIST_ITEM.match(source) else _LIST_ITEM.sub("", lines[0])


def _unquoted(text: str, source: str) -> str:
    """The text without quotes or emphasis around all of it; one that never closes means that something is lost."""
    for opening, closing in _QUOTES.items():
        if text.startswith(opening) and not source.startswith(opening):
            body, end = text[len(opening) :], ""
            if body.endswith((f"{closing}.", f"{closing},")):  # "a cat". -> a cat.
                body, end = body[:-1], body[-1]
            if body.endswith(closing) and closing not in body[: -len(closing)].replace(f"{closing}s ", ""):
                return _unquoted((body[: -len(closing)] + end.replace(",", "")).strip(), source)
            if closing not in body and opening in ('"', "“", "«"):
                raise Rejected("truncated")
    return text
