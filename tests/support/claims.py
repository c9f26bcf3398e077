"""Contexts, and sentences that an answer may make of them: each with whether the contexts support it.

`DEVELOPMENT` was looked at while the check was written. `HELD_OUT` was written before it, by the same hand, and
never looked into: its figure is the honest one. Add to either, but move nothing between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Source(NamedTuple):
    """Contexts, what they support, and what they do not."""

    contexts: tuple[str, ...]
    supported: tuple[str, ...]
    unsupported: tuple[str, ...]


def claims(sources: tuple[Source, ...]) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Each claim with its contexts and its verdict."""
    for source in sources:
        yield from ((source.contexts, claim, True) for claim in source.supported)
        yield from ((source.contexts, claim, False) for claim in source.unsupported)


DEVELOPMENT = (
    Source(
        (
            (
                "Orders can be returned within 30 days of delivery. Items must be unused and in their original box. "
                "The refund is paid to the original card within five working days."
            ),
            "Shipping is free for orders above 50 euros. Express delivery costs 12 euros and takes one day.",
        ),
        (
            "You can return an order within 30 days after it was delivered.",
            "The item has to be unused and in its original box.",
            "Refunds go back to the original card within 5 working days.",
            "Express delivery takes one day and costs 12 euros.",
            "Orders above 50 euros are shipped free of charge.",
        ),
        (
            "You can return an order within 60 days after it was delivered.",
            "Items do not have to be unused.",
            "Refunds are paid as store credit.",
            "Express delivery costs 15 euros.",
            "Shipping is free for all orders.",
            "We also offer a price guarantee on electronics.",
        ),
    ),
    Source(
        (
            (
                "Adults take one tablet of Velorin every eight hours. Do not take more than three tablets in a day. "
                "Velorin must not be given to children under twelve. Common side effects are headache and nausea."
            ),
        ),
        (
            "Adults should take one Velorin tablet every eight hours.",
            "No more than three tablets may be taken in a day.",
            "Velorin is not for children under 12.",
            "Headache and nausea are common side effects.",
        ),
        (
            "Adults should take two Velorin tablets every eight hours.",
            "Velorin may be given to children under twelve.",
            "Common side effects are headache and fever.",
            "Velorin cures migraine within an hour.",
            "Adults take one tablet of Serapin every eight hours.",
        ),
    ),
    Source(
        (
            (
                "The Harrow Bridge was opened in 1931 by Mayor Edith Lowe. It is 412 metres long and carries two lanes of "
                "traffic. In 1978 the eastern pier was rebuilt after a flood."
            ),
            "The ferry between Harrow and Quill stopped running when the bridge opened.",
        ),
        (
            "Mayor Edith Lowe opened the Harrow Bridge in 1931.",
            "The bridge is 412 metres long.",
            "After a flood, the eastern pier was rebuilt in 1978.",
            "The ferry from Harrow to Quill stopped when the bridge opened.",
        ),
        (
            "Mayor Edith Stone opened the Harrow Bridge in 1931.",
            "The Harrow Bridge was opened in 1913.",
            "The western pier was rebuilt in 1978.",
            "The bridge carries four lanes of traffic.",
            "The Harrow Bridge is the longest bridge in the county.",
        ),
    ),
    Source(
        (
            (
                "Full-time employees receive 28 days of paid leave a year. Unused leave can be carried over until the end "
                "of March. Leave must be approved by the team lead before it is booked."
            ),
        ),
        (
            "Full-time employees get 28 days of paid leave per year.",
            "You can carry unused leave over until the end of March.",
            "The team lead must approve leave before it is booked.",
        ),
        (
            "Full-time employees get 25 days of paid leave per year.",
            "Unused leave cannot be carried over.",
            "You can carry unused leave over until the end of May.",
            "Leave is approved by the finance department.",
            "Part-time employees receive 14 days of paid leave a year.",
        ),
    ),
    Source(
        (
            (
                "The `retry` option sets how often a failed request is sent again; the default is 3. Timeouts are given in "
                "seconds. The client closes idle connections after 90 seconds. Version 4.2 removed the `proxy` argument."
            ),
        ),
        (
            "By default a failed request is sent again 3 times, as set by the retry option.",
            "Idle connections are closed by the client after 90 seconds.",
            "The proxy argument was removed in version 4.2.",
            "Timeouts are in seconds.",
        ),
        (
            "Idle connections are closed by the client after 30 seconds.",
            "The proxy argument was added in version 4.2.",
            "Timeouts are given in milliseconds.",
            "The client encrypts all cached responses on disk.",
        ),
    ),
    Source(
        (
            (
                "Nordbank bought Fjord Insurance for 2.4 billion crowns. Most shareholders of Fjord approved the sale in "
                "May. The combined company will keep its headquarters in Bergen."
            ),
        ),
        (
            "Nordbank bought Fjord Insurance.",
            "The sale was approved by most shareholders of Fjord in May.",
            "The headquarters of the combined company will stay in Bergen.",
        ),
        (
            "Fjord Insurance bought Nordbank.",
            "All shareholders of Fjord approved the sale in May.",
            "The headquarters of the combined company will move to Oslo.",
            "Nordbank paid 3.4 billion crowns for Fjord Insurance.",
        ),
    ),
)

HELD_OUT = (
    Source(
        (
            (
                "The gym is open from 6:30 to 22:00 on weekdays and until 18:00 on weekends. Members may bring one guest "
                "a month at no charge. Towels are not provided. The sauna is closed for repairs until 4 April."
            ),
        ),
        (
            "On weekdays the gym is open from 6:30 to 22:00.",
            "Members can bring one guest per month free of charge.",
            "Towels aren't provided.",
            "The sauna will be closed until 4 April for repairs.",
        ),
        (
            "On weekdays the gym is open from 5:30 to 22:00.",
            "Members can bring two guests per month free of charge.",
            "Towels are provided.",
            "The sauna will be closed until 14 April for repairs.",
            "The swimming pool is open to members only.",
        ),
    ),
    Source(
        (
            (
                "Bake the loaf at 220 degrees for 35 minutes. Let it cool on a rack for at least an hour before slicing. "
                "The dough needs 400 grams of rye flour and no yeast, as the starter does the work."
            ),
        ),
        (
            "The loaf is baked for 35 minutes at 220 degrees.",
            "Before slicing, let the loaf cool for at least one hour on a rack.",
            "The dough contains 400 g of rye flour.",
            "No yeast is needed.",
        ),
        (
            "The loaf is baked for 45 minutes at 220 degrees.",
            "Slice the loaf before it cools on the rack.",
            "The dough contains 400 g of wheat flour.",
            "Add two spoons of honey for a darker crust.",
        ),
    ),
    Source(
        (
            (
                "Tenants must give notice three months before moving out. The landlord returns the deposit within six weeks "
                "unless there is damage. Pets are allowed with written permission."
            ),
            "Subletting the whole flat is forbidden. A single room may be sublet for up to one year.",
        ),
        (
            "Tenants have to give three months' notice before they move out.",
            "Unless there is damage, the landlord returns the deposit within 6 weeks.",
            "With written permission pets are allowed.",
            "It is forbidden to sublet the whole flat.",
            "You may sublet a single room for up to one year.",
        ),
        (
            "Tenants have to give six months' notice before they move out.",
            "The tenant returns the deposit within six weeks.",
            "Pets are forbidden.",
            "It is allowed to sublet the whole flat.",
            "You may sublet a single room for at least one year.",
            "The landlord pays for heating and water.",
        ),
    ),
    Source(
        (
            (
                "The lander Mirri touched down near the crater Oleg on 9 June 2021. Its drill reached a depth of 1.8 metres "
                "and found ice mixed with dust. The lander sent data for 71 days until its battery failed."
            ),
        ),
        (
            "Mirri landed near the crater Oleg on 9 June 2021.",
            "The drill reached a depth of 1.8 metres.",
            "It found ice mixed with dust.",
            "Data was sent for 71 days, until the battery failed.",
        ),
        (
            "Mirri landed near the crater Oleg on 9 July 2021.",
            "The drill reached a depth of 18 metres.",
            "It found no ice.",
            "Data was sent for 71 days, until the antenna failed.",
            "Mirri landed near the crater Pavel on 9 June 2021.",
        ),
    ),
    Source(
        (
            (
                "Line 7 trains run every ten minutes until midnight. Bicycles may be taken along except between 7 and 9 in "
                "the morning. Children under six travel free when an adult is with them."
            ),
        ),
        (
            "Trains on line 7 run every 10 minutes until midnight.",
            "Bicycles may not be taken along between 7 and 9 in the morning.",
            "Accompanied by an adult, children under six travel for free.",
        ),
        (
            "Trains on line 9 run every ten minutes until midnight.",
            "Bicycles may never be taken along.",
            "Children under sixteen travel free when an adult is with them.",
            "Dogs need a ticket of their own.",
        ),
    ),
    Source(
        (
            (
                "In the final, Ortega beat Lindqvist 6-4, 7-5. Ortega had lost their two earlier matches. The final was "
                "delayed by an hour because of rain, and some spectators left before it began."
            ),
        ),
        (
            "Ortega beat Lindqvist in the final.",
            "Because of rain the final was delayed by one hour.",
            "Ortega had lost two earlier matches against Lindqvist.",
            "Some spectators left before the final began.",
        ),
        (
            "Lindqvist beat Ortega in the final.",
            "Because of snow the final was delayed by one hour.",
            "Ortega had won their two earlier matches.",
            "All spectators left before the final began.",
            "Ortega received a prize of 80,000 dollars.",
        ),
    ),
)
