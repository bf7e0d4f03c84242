"""Rankings as tests write them down: candidate by candidate."""

import numpy as np

from behavior.served import Explored
from scoring.ranking import Ranked, Ranking


def ranking_of(*rows: Ranked, explored: Explored | None = None) -> Ranking:
    """The ranking that shows these candidates, of one kind and with the same factors, in this order, maybe drawn."""
    factors = tuple((each.name, each.weight) for each in rows[0].addends) if rows else ()
    return Ranking(
        kind=rows[0].kind if rows else "category",
        places=np.arange(len(rows)),
        ids=[each.id for each in rows],
        categories=[each.category for each in rows],
        scores=[each.score for each in rows],
        factors=factors,
        values=[[each.addends[number].value for each in rows] for number in range(len(factors))],
        contributions=[[each.addends[number].contribution for each in rows] for number in range(len(factors))],
        margins=[each.margin for each in rows],
        residuals=[each.residual for each in rows],
        propensities=[each.propensity for each in rows],
        vectors=[each.vector for each in rows],
        features={name: [each.features[name] for each in rows] for name in (rows[0].features if rows else ())},
        marks=[each.marks for each in rows],
        positions=[each.relevance_position for each in rows],
        chances=[each.chance for each in rows] if explored else (),
        explored=explored,
    )
