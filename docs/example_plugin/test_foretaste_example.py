"""Each plug-in passes the checks that foretaste's own components pass."""

from foretaste_example.contradicted_labels import ContradictedLabels
from foretaste_example.letters import Letters

from foretaste.attacks.contract import ATTACKS
from foretaste.testing import check_attack, check_detector, check_embedder
from foretaste.testing.worlds import flipped
from foretaste.types.dataset import Modality


def test_contradicted_labels():
    check_detector(ContradictedLabels(), poison=lambda seed=0, **_: flipped(seed))


def test_letters():
    check_embedder(Letters(), Modality.TEXT, instead={"alphabet": "aeiou"})


def test_capitals():
    check_attack(ATTACKS.find("capitals"))
