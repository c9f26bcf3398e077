"""Forms of values and answers in which a difference hid once, or nothing differed and an alarm was raised."""

from __future__ import annotations

import time

import pytest
from support.messages import check_message

from pytest_llmops.errors import UsageError
from pytest_llmops.semantics.checks import compare
from pytest_llmops.semantics.checks.sentence import Sentence

# Reference, answer, the checks that speak; both ways round.
_OTHER = """
Yes, we ship to Canada.|No, we do not ship to Canada.|antonyms negation
Yes, you can return it.|No, you cannot return it.|antonyms negation
True, the earth is round.|False, the earth is not round.|antonyms negation
Yes. We ship to Canada.|No. That is not possible for us.|antonyms
Yes it is open.|No it is not open.|antonyms negation
Pets are allowed but smoking is not allowed.|Smoking is allowed but pets are not allowed.|roles
The latency is 250 ms.|The latency is 25 s.|numbers
The limit is 900 s.|The limit is 5 min.|numbers
It takes 10 ms.|It takes 10 s.|units
It takes 10 min.|It takes 10 s.|units
It takes 10 s.|It takes 10 h.|units
It draws 3 A.|It draws 30 mA.|numbers
It draws 3 A.|It draws 3 mA.|units
The time limit of the job is 250 ms at most.|The time limit of the job is 25 at most.|numbers
Add 5 mL.|Add 50 mL.|numbers
Add 5 mL.|Add 5 L.|units
Add 5 μg.|Add 5 mg.|units
It needs 5 MiB.|It needs 5 GiB.|units
It is 5 nm thick.|It is 5 mm thick.|units
It is 1 nm thick.|It is 2 nm thick.|numbers
It holds 5 m³.|It holds 5 m².|units
It is at 300 K.|It is at 300 °C.|units
It runs at 100 Mb.|It runs at 100 MB.|units
It rose 5 ‰.|It rose 5 %.|units
It is 5 mmol/L.|It is 6 mmol/L.|numbers
It is 5 mmol/L.|It is 5 mol/L.|units
You have 5 days.|You have 3 tries.|numbers
It takes 5 days.|It takes 9 gizmos.|numbers
Yes.|No.|antonyms
True.|False.|antonyms
Positive.|Negative.|antonyms
Never.|Always.|negation
Approved.|Rejected.|antonyms
Correct.|Incorrect.|antonyms
I agree.|I disagree.|antonyms
Yes|No|antonyms
Yes.|Not at all.|negation
The id is 123456789012345678901234567890123456789012345.|The id is 123456789012345678901234567890123456789012346.|numbers
The id is 1234567890123.|The id is 1234567890124.|numbers
It has 1e6 users.|It has 1e7 users.|numbers
Call 555-123-4567.|Call 555-123-4568.|numbers
It is ten dollars and fifty cents.|It is $10.40.|numbers
It weighs 2.5 kg.|It weighs two and a quarter kilos.|numbers
It starts at 3.|It starts at 4 pm.|dates
It ships to the US.|It ships to the UK.|entities
We accept Visa, Mastercard and PayPal.|We accept PayPal, Visa, and Amex.|entities
Yes. It ships today.|No. It ships today.|antonyms
Yes!|No!|antonyms
Accepted.|Denied.|antonyms
Allowed.|Not allowed.|negation
Safe|Unsafe|antonyms
Possible.|Impossible.|antonyms
All.|None.|negation
5 days.|6 days.|numbers
5 GB.|5 MB.|units
You need 5 tokens.|You need 7 hours.|numbers
Wait 5 s.|Wait 50 s.|numbers
Wait 30 s, then retry.|Wait 30 min, then retry.|units
The file has 5 KiB.|The file has 5 MiB.|units
The gap is 3 μm.|The gap is 3 mm.|units
The tank holds 5 m³.|The tank holds 50 m³.|numbers
Level is 5 mmol/L.|Level is 5 mg/dL.|units
It holds up to 8 people.|It holds at least 8 people.|quantifiers
It holds no more than 8 people.|It holds no fewer than 8 people.|quantifiers
We ship to the US.|We ship to the EU.|entities
It opens at 3.|It opens at 5 pm.|dates
It costs $100.|It costs $102.|numbers
It sold 1e6 units.|It sold 1e5 units.|numbers
It has 2 GB.|It has 2 TB.|units
Serial 12345678901234567.|Serial 12345678901234568.|numbers
You can cancel and get a refund within 14 days.|You cannot cancel and get a refund within 14 days.|negation
"""
_SAME = """
The 30s timeout is fixed.|The 30 second timeout is fixed.
Le train part à 10 h.|Le train part à 10:00.
It draws 3 A.|It draws 3000 mA.
It takes 10 s on average.|It takes 10 seconds on average.
It takes 5 h.|It takes 5 hours.
Add 5 mL.|Add 5 ml.
Add 5 µg.|Add 5 μg.
Add 5 μg.|Add 5 mcg.
It needs 5 MiB.|It needs 5120 KiB.
It holds 5 m³.|It holds 5000 litres.
It is at 300 K.|It is at 27 °C.
It is at 300 K.|It is at 300 kelvin.
It rose 5 ‰.|It rose 0.5 %.
It is 5 mmol/L.|It is 5 mmol/l.
She has 3 A levels.|She has three A levels.
Up to 8 people may ride.|At most 8 people may ride.
Up to 8 people may ride.|No more than 8 people may ride.
Up to 8 people may ride.|A maximum of 8 people may ride.
At least 8 people must ride.|No fewer than 8 people must ride.
At least 8 people must ride.|A minimum of 8 people must ride.
We ship to the US.|We ship to the U.S.
We ship to the US only.|We ship to the USA only.
We ship to the USA.|We ship to the United States.
Dr. Smith signs it.|Doctor Smith signs it.
It is Rome vs. Milan.|It is Rome versus Milan.
We accept Visa, Mastercard and PayPal.|We accept PayPal, Visa, and Mastercard.
We ship to France, Spain, and Italy within 5 days.|Within 5 days we ship to Italy, France and Spain.
It sells red wine, white wine and beer at noon.|It sells beer, white wine and red wine at noon.
It has 2 GB.|It has 2048 MB.
It has 2 GB.|It has 2000 MB.
It has 1 MB.|It has 1024 KB.
It is ten dollars and fifty cents.|It is $10.50.
It weighs 2.5 kg.|It weighs two and a half kilos.
Call 555-123-4567.|Call (555) 123-4567.
It starts at 3.|It starts at 3 pm.
You must not sign.|You may not sign.
You need not sign.|You do not have to sign.
You need not sign.|You do not need to sign.
Smoking is forbidden and pets are allowed.|Smoking is not allowed and pets are allowed.
The museum is closed on Mondays.|The museum is not open on Mondays.
The medicine must be stored below 25 °C.|The medicine must not be stored above 25 °C.
Never.|No.
Yes.|Sure.
No.|Not at all.
Great job!|Well done!
Chelsea beat Arsenal 3-1.|Arsenal lost 1-3 to Chelsea.
It has 1e6 users.|It has 1,000,000 users.
It has 1e6 users.|It has a million users.
Shipping is from 3 to 5 days.|Shipping takes 3-5 days.
Yes, we ship to Canada.|We ship to Canada.
No, we do not ship to Canada.|We do not ship to Canada.
Yes, smoking is banned here.|Yes, smoking is not allowed here.
Correct, it is included.|Yes, it is included.
The office is closed on Friday and calls are not answered.|The office is not open on Friday and calls are not answered.
You can pay by card or cash.|You can pay in cash or by card.
It supports Python, Ruby and Go.|Go, Python and Ruby are supported.
Mix the flour, sugar and eggs.|Mix eggs, flour and sugar.
Anna, Ben and Carl signed it.|Carl, Anna and Ben signed it.
The plan includes email, chat, and phone support.|The plan includes phone, chat and email support.
It runs at 5 V and draws 3 A.|It draws 3 A and runs at 5 V.
Wait 10 s before you retry.|Wait ten seconds before you retry.
It stores 500 MB of data.|It stores 0.5 GB of data.
The 80s were loud.|The eighties were loud.
The temperature is 20 °C.|The temperature is 20 degrees Celsius.
The file is 1.5 MiB.|The file is 1536 KiB.
The dose is 5 mg/kg.|The dose is 5 mg per kg.
Call (020) 7946 0018 for help.|For help, call 020-7946-0018.
The meeting is at 3 on Monday.|The meeting is at 15:00 on Monday.
We ship to the UK.|We ship to the United Kingdom.
He is the CEO of the firm.|He is the chief executive officer of the firm.
Add 2 1/2 cups.|Add 2½ cups.
Add 2 1/2 cups.|Add two and a half cups.
Add 2.5 cups.|Add 2 1/2 cups.
It rained for two and a half hours.|It rained for 150 minutes.
It costs £3 and 50 pence.|It costs £3.50.
It takes no more than 5 days.|It takes at most 5 days.
It takes not more than 5 days.|It takes up to 5 days.
You can invite up to 5 guests.|You can invite 5 guests at most.
You can invite up to 5 guests.|You can invite a maximum of 5 guests.
You need at least 5 guests.|You need 5 or more guests.
You must be at least 18.|You must be 18 or older.
Version 3.1 fixed it.|It was fixed in version 3.1.
She scored 95.|She scored 95 points.
It is 5 miles from the station.|It is 8 km from the station.
The ratio is 3:1.|The ratio is 3 to 1.
The home team won 3-1.|The home team won 3:1.
Okay.|Yes.
Agreed.|I agree.
Not possible.|Impossible.
Not allowed.|Forbidden.
Never.|Not ever.
Absolutely.|Yes, absolutely.
It was approved.|Approved.
Paris.|It is Paris.
You may not park here.|You cannot park here.
You must not park here.|Parking here is prohibited.
You are not required to sign.|You need not sign.
Signing is optional.|You do not have to sign.
The train takes 2 h 30 min.|The train takes 2.5 hours.
It has 10 users.|It has ten users.
We close at 5.|We close at 5 pm.
It opens at 8 and closes at 6.|It opens at 8 am and closes at 6 pm.
The US economy grew.|The American economy grew.
Tell us by email, please.|Please tell us by e-mail.
There are 3 A batteries in it.|There are three A batteries in it.
It needs 16 GB RAM.|It needs 16 GB of RAM.
The song was a hit in the early 2000s.|In the early 2000s the song was a hit.
He lost 5 kg in 2 months.|In two months he lost 5 kilograms.
Pages 10 to 20 are missing.|Pages 10-20 are missing.
False, it is flat.|No, it is flat.
True.|Yes.
You can cancel and get a refund within 14 days.|You cannot cancel and get a refund after 14 days.
Within 14 days, you can cancel.|After 14 days, you cannot cancel.
If the shop is open, you can enter.|If the shop is closed, you cannot enter.
The plan is free and is not available abroad.|The plan is free and unavailable abroad.
It costs 5 euros and takes 3 days.|It takes 3 days and costs 5 euros.
It takes 2 to 3 days.|It takes 2-3 days.
The team lost 1-3.|The team lost the match 1-3.
Press A or B.|Press B or A.
The blood test showed 5 mmol/L.|The blood test showed 5 mmol per litre.
The Wi-Fi is 100 Mbit/s.|The Wi-Fi is 100 Mbps.
Use 250 ml milk.|Use 250 mL of milk.
He is at most 5 minutes late.|He is no more than five minutes late.
You may bring a maximum of two bags.|You may bring up to 2 bags.
We need a minimum of 3 days.|We need at least three days.
No, refunds are not possible.|Refunds are not possible.
No.|No, sorry.
Dr. Lee is away until 5 May.|Doctor Lee is away until May 5.
Order no. 12345678901234567890 was sent.|Order 12345678901234567890 was sent.
It has 12 rooms.|It has a dozen rooms.
The code is 007.|The code is 7.
It is 10:30.|It is half past ten.
It took 5 days, 3 hours and 2 minutes.|It took 5 days, 3 hours, and 2 minutes.
We speak German, French and Dutch.|We speak Dutch, German and French.
The flag is red, white and blue.|The flag is blue, white, and red.
In 10 s it stops.|It stops in 10 seconds.
You have 3 attempts.|You have three tries.
It has 3 doors.|It has three doors and a trunk.
You should not sign.|You shouldn't sign.
You don't need a visa.|You need no visa.
The site's open 24/7.|The site is open 24 hours a day.
"""
OTHER = [tuple(line.split("|")) for line in _OTHER.strip().splitlines()]
SAME = [tuple(line.split("|")) for line in _SAME.strip().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second", "checks"), OTHER)
def test_what_differs_is_seen_both_ways_round(first: str, second: str, checks: str) -> None:
    for expected, actual in ((first, second), (second, first)):
        result = list(dict.fromkeys(alarm.check for alarm in compare(actual, expected).alarms))
        assert sorted(result) == sorted(checks.split())


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), SAME)
def test_what_is_the_same_is_left_alone_both_ways_round(first: str, second: str) -> None:
    assert compare(second, first).alarms == ()
    assert compare(first, second).alarms == ()


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("3 A", [("current", 3.0)]),
        ("3 A levels", [("number", 3.0)]),
        ("300 K", [("temperature", 300 - 273.15)]),
        ("300K users", [("number", 300_000.0)]),
        ("5 GiB", [("data", 5 * 2.0**30)]),
        ("5 GB", [("data", 5e9), ("data", 5 * 2.0**30)]),
        ("5 Mb", [("bits", 5e6)]),
        ("5 m³", [("volume", 5000.0)]),
        ("5 ㎎", [("mass", 5e-6)]),
        ("1e6 users", [("number", 1e6)]),
        ("waited 90s", [("time", 90.0)]),
        ("closes at 3", [("number", 3.0), ("clock", 180.0), ("clock", 900.0)]),
        ("at 3 places", [("number", 3.0)]),
        ("$3 and 20 cents", [("money USD", 3.2)]),
        ("2½ kg", [("mass", 2.5)]),
        ("一个人", []),
    ],
)  # fmt: skip
def test_what_a_form_states(text: str, readings: list[tuple[str, object]]) -> None:
    rows = [(reading.dim, reading.value) for fact in Sentence(text).facts for reading in fact.readings]
    assert [dim for dim, _ in rows] == [dim for dim, _ in readings]
    for (_, value), (_, wanted) in zip(rows, readings, strict=True):
        assert value == (pytest.approx(wanted) if isinstance(wanted, float) else wanted)


def test_digits_of_any_length_are_compared_to_the_last() -> None:
    for length in (14, 15, 16, 40, 41, 500, 900):
        code = "7" * length
        assert compare(f"The key is {code}1.", f"The key is {code}1.").alarms == ()
        assert [alarm.check for alarm in compare(f"The key is {code}1.", f"The key is {code}2.").alarms] == [
            "numbers"
        ]


@pytest.mark.slow
def test_100_kb_of_numbers_are_compared_in_seconds() -> None:
    numbers = " ".join(str(number * 7919 % 1_000_003) for number in range(14_500))
    start = time.process_time()
    compare(numbers, numbers.replace("1", "2"))
    assert time.process_time() - start < 8


def test_a_yes_counts_at_the_head_of_the_whole_answer_only() -> None:
    assert compare("No charge is made. Yes, it ships.", "Yes, it ships.").alarms == ()
    assert compare("No idea is bad.", "Yes, no idea is bad.").alarms == ()
    assert [alarm.message for alarm in compare("No. It ships.", "Yes. It ships.").alarms] == [
        'the opposite: the reference says "Yes", the answer "No"'
    ]
    assert compare("No.", "Yes.", checks=["-antonyms"]).alarms == ()


def test_an_order_that_counts_is_compared() -> None:
    assert compare("First peel, then boil and salt it.", "First boil, then peel and salt it.").alarms


def test_texts_that_are_none_and_checks_that_are_none_are_reported() -> None:
    with pytest.raises(TypeError, check=check_message):
        compare(None, "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, check=check_message):
        compare("x", b"x")  # type: ignore[arg-type]
    with pytest.raises(UsageError, check=check_message):
        compare("x", "y", checks="numbers")
    with pytest.raises(UsageError, check=check_message):
        compare("x", "y", checks=["-nombers"])
    with pytest.raises(UsageError, match="all with a minus"):
        compare("x", "y", checks=["-roles", "numbers"])


def test_names_with_a_minus_take_checks_away() -> None:
    expected, actual = "It takes 30 days.", "It takes 60 days."
    assert compare(actual, expected, checks=["-roles"]).alarms
    assert compare(actual, expected, checks=["-numbers"]).alarms == ()
    assert compare(actual, expected, checks="default") == compare(actual, expected)
