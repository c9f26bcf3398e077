"""Personal data in texts: addresses, phone numbers, and numbers of accounts, cards and insurance, by their form."""

import re
from collections.abc import Callable

# By kind: the form, and a check of its digits
FORMS: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "e-mail": (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"), bool),
    "iban": (
        re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
        lambda text: int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1,
    ),
    "card": (
        re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])"),
        lambda text: (
            sum(sum(divmod(int(digit) * (1 + place % 2), 10)) for place, digit in enumerate(text[::-1])) % 10
            == 0
        ),
    ),
    "ssn": (re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"), bool),
    "phone": (
        re.compile(
            r"(?<![\w.+])(?:(?:\+|00)[1-9](?:[ ()./-]{0,2}\d){7,13}|\(?[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4})(?!\d)"
        ),
        bool,
    ),
}


def mask_personal_data(text: str) -> str:
    """Return a text with ``[kind]`` in place of personal data.

    >>> mask_personal_data("Write to jo@example.org, or call +49 30 901820.")
    'Write to [e-mail], or call [phone].'
    """
    for kind, (form, is_valid) in FORMS.items():
        for found in {match[0] for match in form.finditer(text) if is_valid(re.sub("[ -]", "", match[0]))}:
            text = text.replace(found, f"[{kind}]")
    return text
