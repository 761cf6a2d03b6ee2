"""How hard a token is to guess, estimated from the token alone."""

import math
import re

BITS_MIN = 64
"""What a token must be worth. Random ones of 32 characters are (30,000 each of hex, base64 and UUIDs were tried);
of those of 32 digits, which hold 106 bits, one in two thousand is estimated at less."""

_OBVIOUS = re.compile(
    "passwor[dt]|passphrase|passwd|secret|admin|token|bearer|root|user|login|change|replace|example|insecure|default"
    "|develop|production|staging|local|test|demo|dummy|fund|transfer|service|bank|account|ledger|money|random|string"
    "|letmein|welcome|qwert[yz]?|uiop|asdf|ghjkl|yxcv|zxcv|bnm|1q2w|3e4r|5t6[yz]|7u8i|9o0p|qaz|wsx|edc|rfv|tgb|with|this|that|your"
    "|very|super|please|here|the|and|for"
)
_PLAIN_LETTERS = str.maketrans("013457@$!", "oieastasi")
_WORD = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}")
_UNSPEAKABLE = re.compile(r"[^aeiouy]{5}|[aeiouy]{4}", re.IGNORECASE)
_VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)
_WORD_BITS = 13.0  # one of the 7,776 words of Diceware, which have six letters at most
_WORD_LETTERS = 6
_DOUBLES = re.compile(r"(.)\1+")
_REPEAT_LENGTH = 3


def estimated_bits(token: str) -> float:
    """Return about how many bits of chance ``token`` holds, rather too few for a random one than too many for others.

    A character is worth the logarithm of how many different ones the token has. One that repeats what came before or
    goes on a sequence (``aaa``, ``123``, ``cba``) is worth nothing, nor is one of an obvious word (``password``,
    ``p4ssw0rd``, ``qwerty``); any other word that can be spoken is worth no more than a word drawn from a list, and a
    sign between words one bit. A date, a famous number or another language is not seen: this finds carelessness.
    """
    if not token:
        return 0.0
    token = _DOUBLES.sub(r"\1", token)
    each = math.log2(len(set(token)))
    worth = [each if character.isalnum() else min(each, 1.0) for character in token]
    for word in filter(_is_speakable, _WORD.finditer(token)):
        _lower(worth, word, min(each, _WORD_BITS / min(len(word[0]), _WORD_LETTERS)))
    for plain in (token.lower(), token.lower().translate(_PLAIN_LETTERS)):
        for word in _OBVIOUS.finditer(plain):
            _lower(worth, word, 0.0)
    return sum(bits for bits, predictable in zip(worth, _predictable(token.lower()), strict=True) if not predictable)


def _lower(worth: list[float], word: re.Match[str], bits: float) -> None:
    for place in range(*word.span()):
        worth[place] = min(worth[place], bits)


def _is_speakable(word: re.Match[str]) -> bool:
    """Whether letters could be a word, with a vowel in every few. Letters drawn at random seldom are for long."""
    return _UNSPEAKABLE.search(word[0]) is None and len(_VOWEL.findall(word[0])) * 5 >= len(word[0])


def _predictable(token: str) -> list[bool]:
    """Whether each character ends three that were there before, or that count up, down or stay."""
    seen: set[str] = set()
    found = []
    for end in range(1, len(token) + 1):
        recent = token[max(0, end - _REPEAT_LENGTH) : end]
        found.append(len(recent) == _REPEAT_LENGTH and (recent in seen or _is_sequence(recent)))
        seen.add(recent)
    return found


def _is_sequence(characters: str) -> bool:
    first, second, third = map(ord, characters)
    return second - first == third - second and abs(second - first) <= 1
