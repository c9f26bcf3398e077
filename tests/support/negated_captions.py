"""Captions with the plain "not" of their language added, to measure which flips a check finds."""

from __future__ import annotations

import re

CODES = {
    "de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese", "nl": "Dutch", "pl": "Polish",
    "ru": "Russian", "zh": "Chinese", "ja": "Japanese",
}  # fmt: skip
VERBS = {
    "de": "ist|sind|hat|haben|wird|werden|geht|gehen|steht|stehen|sitzt|sitzen|liegt|spielt|spielen|läuft|laufen|fährt|fahren|hält|halten|"
    "springt|tanzt|schneidet|reitet|trägt|isst|trinkt|schläft|schwimmt|rennt|rennen|schaut|liest|singt|klettert",
    "nl": "is|zijn|heeft|hebben|wordt|worden|gaat|gaan|staat|staan|zit|zitten|ligt|liggen|speelt|spelen|loopt|lopen|rijdt|rijden|houdt|"
    "springt|danst|snijdt|draagt|eet|drinkt|slaapt|zwemt|rent|rennen|kijkt|leest|zingt|klimt",
    "es": "está|están|es|son|hay|tiene|tienen|juega|juegan|corre|corren|camina|salta|monta|lleva|come|toca|corta|baila|nada",
    "fr": "est|sont|a|ont|joue|jouent|court|courent|marche|saute|monte|porte|mange|coupe|danse|nage|regarde|tient",
    "it": "è|sono|ha|hanno|sta|stanno|gioca|giocano|corre|corrono|cammina|salta|porta|mangia|suona|taglia|balla|nuota",
    "pt": "está|estão|é|são|há|tem|têm|joga|jogam|corre|correm|caminha|salta|anda|come|toca|corta|dança|nada",
    "pl": "jest|są|ma|mają|gra|grają|biegnie|biegną|idzie|idą|stoi|stoją|siedzi|siedzą|leży|jedzie|jadą|skacze|trzyma|je|tańczy|pływa|kroi",
    "ru": "играет|играют|бежит|бегут|идет|идёт|идут|стоит|стоят|сидит|сидят|лежит|едет|едут|прыгает|держит|ест|танцует|плывет|режет|смотрит|бегает",
}  # fmt: skip
CHINESE = (("正在", "没有在"), ("在", "不在"), ("站", "不站"), ("坐", "不坐"), ("跑", "不跑"), ("有", "没有"))
JAPANESE = (
    ("ている。", "ていない。"), ("でいる。", "でいない。"), ("ています。", "ていません。"), ("でいます。", "でいません。"),
    ("する。", "しない。"), ("いる。", "いない。"), ("がいます。", "がいません。"), ("ある。", "ない。"), ("です。", "ではありません。"),
    ("ている", "ていない"), ("でいる", "でいない"),
)  # fmt: skip


def negate(caption: str, code: str) -> str:
    """Return the caption with a negation at its verb, or "" for a caption without a verb of the list."""
    if code in ("zh", "ja"):
        for plain, negated in CHINESE if code == "zh" else JAPANESE:
            if plain in caption:
                head, _, tail = caption.rpartition(plain) if code == "ja" else caption.partition(plain)
                return head + negated + tail
        return ""
    verb = re.search(rf"(?<=\s)(?:{VERBS[code]})(?=[\s.])", caption)
    if verb is None:
        return ""
    head, tail = caption[: verb.start()], caption[verb.end() :]
    if code == "fr":
        elided = verb[0][0] in "aeiouhéê"
        return f"{head}{'n’' if elided else 'ne '}{verb[0]} pas{tail}"
    if code in ("de", "nl"):
        return f"{head}{verb[0]} {'nicht' if code == 'de' else 'niet'}{tail}"
    word = {"es": "no", "it": "non", "pt": "não", "pl": "nie", "ru": "не"}[code]
    return f"{head}{word} {verb[0]}{tail}"
