"""Find personal data in texts by rules that need no package: e-mail and IP addresses, cards, IBANs, US SSNs, phone numbers.

Card numbers and IBANs must have the right check digits and ranges. A phone number must have a typical form, or come shortly after a
word such as "phone".
"""

import ipaddress
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator

RULE_KINDS = ("email", "card", "iban", "us_ssn", "ip")
KINDS = (*RULE_KINDS, "phone")
PATTERNS = {
    name: re.compile(pattern)
    for name, pattern in {
        "email": r"(?<![\w%+-])[\w%+-][\w.%+'-]{0,63}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w@-])",
        "card": r"(?<![\w.])(?=[1-6]\d{3}|0604)(?=(\d{4}(?:[ -]?\d){8,15}(?!\d)))",
        # Visa, Mastercard, American Express, Discover, UnionPay, Diners Club, JCB, Maestro
        "brand": r"(?a)4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
        r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}|62\d{14,17}|(?:30[0-59]\d|3[689]\d\d)\d{10}(?:\d{2,5})?"
        r"|(?:1800|2131)\d{11}|35\d{14,17}|(?:50|5[6-9]|6[0-9])\d{10,17}|0604\d{8,15}",
        "iban": r"(?<!\w)(?=([A-Za-z]{2}\d\d(?: ?[A-Za-z0-9]){11,31}))",
        "us_ssn": r"(?<![\d-])(?!000|666|9|078-05-1120|219-09-9999)\d{3}(?:-(?!00)\d\d-| (?!00)\d\d )(?!0000)\d{4}(?![\d-])",
        "ip": r"(?<![\w.-])(?:\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"
        r"|(?<!:)(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}(?:\.\d{1,3}){0,3}(?![\w:]))",
        # In a lookahead, so that the search goes on at the next group of digits: a number may begin within the match
        "phone": r"(?<!\w)(?<!\d[.,/-])(?!\d{4}-\d\d-\d\d|\d{1,3}(?:\.\d{1,3}){3}(?![\d.])|\d\d[./-]\d\d[./-]\d{4})"
        r"(?=((?:\+|\(|1[ .-](?=\(?\d{3})|(?=\d\d))\(?\d(?:[ ./()-]{0,3}\d){6,15}(?!\d)))",
        # Not the keys "text" and "calls" of JSON
        "phone_word": r"(?i:\b(?:phone|telephone|tel|mobile|cell|fax|call(?!s?\")|contact|reach|dial|whatsapp|hotline|telefon|"
        r"téléphone|handy|sms|text(?!s?\"))(?:s|ed|ing)?\b|☎|📞)",
        # How a number must begin if no word announces it; else most cells of a table of numbers would be candidates
        "dialled": r"\+|\(?0[ ./()-]{0,3}0|\(?\d(?:[ ./()-]{0,3}\d){8,10}(?!\d)",
        "group": r"\d+",
        "phone_form": r"(?:\+|00)[1-9](?:\D*\d){7,13}|\(?[2-9]\d\d\)?[ .-]\d{3}[ .-]\d{4}",
        # A fast test that every text with personal data passes: an @, seven digits near each other, or colons or dots as in an IP address
        "any": r"[@:\d](?:(?<=@)|(?<=:)[0-9A-Fa-f]{0,4}:|(?<=\d)(?:(?:\D{0,8}\d){6}|\d{0,2}(?:\.\d{1,3}){3}))",
    }.items()
}
# Length of an IBAN -> the countries with this length
_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
}
IBAN_SIZES = {country: size for size, countries in _IBAN_COUNTRIES.items() for country in countries.split()}
# For Luhn's check: each digit -> the sum of the digits of its double. For IBANs: each letter -> its number ("A" is 10)
DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")
LETTERS = {ord(letter): str(int(letter, 36)) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
NEAR = 50  # a number begins at most so many characters after the beginning of a word such as "phone" that announces it
MAX_GROUPS = 8  # how many ends are tried for a phone number
ANNOUNCED = range(7, 16)  # how many digits a phone number after such a word may have
FEWEST = {"phone": 7, "card": 12}  # minimum number of digits
IPV6 = 6


def _has_phone_form(shape: str, _: str) -> object:
    """Return whether a text has a form of phone numbers; its digits are not needed for that."""
    return PATTERNS["phone_form"].fullmatch(shape)


def find_personal_data(
    text: str,
    is_phone: Callable[[str, str], object] | None = _has_phone_form,
) -> Iterator[tuple[int, int, str, float]]:
    """Yield (start, end, kind, confidence) for the personal data in a text; the results may overlap.

    Args:
        text: Any text.
        is_phone: Gets a text and its digits, and returns whether it is a phone number; by default its form decides. None: phone
            numbers are not searched for.

    >>> list(find_personal_data("Card 4111 1111 1111 1111, a@b.example"))
    [(26, 37, 'email', 1.0), (5, 24, 'card', 1.0)]
    """
    if not PATTERNS["any"].search(text):
        return
    for kind in RULE_KINDS:
        measure = _MEASURES.get(kind, len)
        for match in PATTERNS[kind].finditer(text):
            group = match.lastindex or 0  # the group in a lookahead, else the whole match
            start = match.start(group)
            size = measure(match[group])
            if size:
                yield start, start + size, kind, 1.0
    if is_phone:
        yield from _find_phones(text, is_phone)


def _find_phones(text: str, is_phone: Callable[[str, str], object]) -> Iterator[tuple[int, int, str, float]]:
    """Yield (start, end, "phone", confidence) for phone numbers, which do not overlap.

    A candidate must come shortly after a word such as "phone", or begin as numbers are dialled. Then the longest number that is
    accepted is taken: with a confidence of 0.6 if only the word decides, of 0.8 if ``is_phone`` does.
    """
    words: list[int] | None = None  # they are only looked for if there is a candidate
    past = 0
    for match in PATTERNS["phone"].finditer(text):
        if words is None:
            words = [word.start() for word in PATTERNS["phone_word"].finditer(text)]
        start = match.start(1)
        if start < past:
            continue
        shape = match[1]
        word = bisect_left(words, start) - 1  # the last one before the candidate
        is_near = word >= 0 and words[word] >= start - NEAR
        if not is_near and not PATTERNS["dialled"].match(shape):
            continue
        for size, number in _list_numbers(shape, FEWEST["phone"])[:MAX_GROUPS]:
            if is_near and len(number) in ANNOUNCED:
                confidence = 0.6
            elif is_phone(shape[:size], number):
                confidence = 0.8
            else:
                continue
            past = start + size
            yield start, past, "phone", confidence
            break


def _list_numbers(shape: str, fewest: int) -> list[tuple[int, str]]:
    """Return (end, digits) for each group of digits at which a number with at least ``fewest`` digits may end, the longest first."""
    digits = ""
    numbers = []
    for group in PATTERNS["group"].finditer(shape):
        digits += group[0]
        if len(digits) >= fewest:
            numbers.append((group.end(), digits))
    numbers.reverse()
    return numbers


def _measure_card(shape: str) -> int:
    """Return the length of the card number at the start of a text, or 0."""
    for end, number in _list_numbers(shape, FEWEST["card"]):
        if PATTERNS["brand"].fullmatch(number) and _has_check_digit(number):
            return end
    return 0


def _has_check_digit(number: str) -> bool:
    """Return whether a number passes Luhn's check: with every other digit doubled, the sum of all digits ends with 0."""
    codes = number.encode()
    single = codes[::-2]
    double = codes[-2::-2].translate(DOUBLED)
    zeros = ord("0") * len(codes)
    total = sum(single) + sum(double) - zeros
    return total % 10 == 0


def _measure_iban(shape: str) -> int:
    """Return the length of the IBAN at the start of a text, including spaces, or 0."""
    size = IBAN_SIZES.get(shape[:2].upper())
    if size is None:
        return 0
    compact = shape.replace(" ", "")[:size].upper()
    if len(compact) < size:
        return 0
    number = (compact[4:] + compact[:4]).translate(LETTERS)
    if int(number) % 97 != 1:
        return 0
    places = [place for place, char in enumerate(shape) if char != " "]
    end = places[size - 1] + 1
    if shape[end : end + 1].isalnum():
        return 0
    return end


def _measure_ip(shape: str) -> int:
    """Return the length of a text if it is an IP address of another machine, or 0."""
    try:
        address = ipaddress.ip_address(shape)
    except ValueError:
        return 0
    if address.is_loopback or address.is_unspecified:
        return 0
    groups = [group for group in shape.split(":") if group]
    # `ipaddress` also accepts texts such as "1::", which may be a slice in Python.
    if address.version == IPV6 and len(groups) <= 2:  # noqa: PLR2004
        return 0
    return len(shape)


# Kind -> a function that returns how many characters at the start of a match really are of this kind; for other kinds, all are
_MEASURES: dict[str, Callable[[str], int]] = {
    "card": _measure_card,
    "iban": _measure_iban,
    "ip": _measure_ip,
}


def mask_personal_data(text: str) -> str:
    """Return a text with its personal data replaced by ``[kind]``.

    >>> mask_personal_data("Write to jo@example.org, or call +49 30 901820.")
    'Write to [email], or call [phone].'
    """
    if not PATTERNS["any"].search(text):
        return text
    masked = ""
    past = 0
    for start, end, kind, _ in sorted(find_personal_data(text)):
        if start >= past:
            masked += f"{text[past:start]}[{kind}]"
        past = max(past, end)  # data that overlap are masked as the first kind
    return masked + text[past:]
