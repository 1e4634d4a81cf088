"""Published numbers beside a board's own."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from noisybench.core.errors import UserError
from noisybench.leaderboard.cells import Cell, board_cells
from noisybench.spec import registry
from noisybench.spec.cards import BenchmarkCard, Claim
from noisybench.spec.track import STANDARD

AS_SHIPPED = {"real": "none"}  # papers say real noise where a run says that it adds none to the labels as shipped


@dataclass(frozen=True)
class PaperClaim:
    """A published accuracy for one cell, with the protocol it was measured under and where it was seen."""

    accuracy: float
    protocol: str
    source: str


def claims_of(card: BenchmarkCard, method: str) -> dict[Cell, PaperClaim]:
    """The published numbers of a method for a board's cells; the method's own card wins over the board's.

    Those on a method's card are of training as its source has it, so a short track shows the board's alone.
    """
    claims: list[Claim] = [claim for claim in card.claims if claim.method == method]
    if card.track == STANDARD:
        with contextlib.suppress(UserError):  # a record of a method that is not installed here: it has no card
            claims += registry.method_card(method).claims
    found = {}
    for claim in claims:
        cell = Cell(claim.dataset, AS_SHIPPED.get(claim.noise, claim.noise), claim.noise_rate)
        if cell in board_cells(card):
            found[cell] = PaperClaim(claim.accuracy, claim.protocol, claim.source)
    return found
