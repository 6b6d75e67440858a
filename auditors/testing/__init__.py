"""The battery of checks that foretaste runs on its own components, for components of others.

A detector, an embedder or an attack that breaks its contract does not fail loudly: it makes an audit wrong. The tests
of a plug-in run the same checks as foretaste's own:

    from foretaste.attacks.contract import ATTACKS
    from foretaste.testing import check_attack, check_detector, check_embedder

    def test_long_rows():
        check_detector(LongRows())

    def test_lengths():
        check_embedder(Lengths(), Modality.TEXT)

    def test_smudge():
        check_attack(ATTACKS.find("smudge"))

Or each check by its name, so that a report says which one failed:

    @pytest.mark.parametrize("check", DETECTOR_CHECKS.values(), ids=DETECTOR_CHECKS)
    def test_long_rows(check):
        check(DetectorUnderTest(LongRows()))

A check returns None where it holds, a reason where it has nothing to look at in this component, and raises
AssertionError where the contract is broken.

worlds      clean data, poison planted in it, and the sweeps of a detector over both
detectors   the checks of detectors
embedders   the checks of embedders
attacks     the checks of attacks
components  what holds of the class of any component
assertions  what a failed check says

Nothing here needs pytest. It imports the contracts of components and what lies below them; no pipeline, explanation,
report, gate or flow.
"""

from foretaste.testing.attacks import ATTACK_CHECKS, check_attack
from foretaste.testing.detectors import DETECTOR_CHECKS, DetectorUnderTest, Poison, check_detector
from foretaste.testing.embedders import EMBEDDER_CHECKS, EmbedderUnderTest, check_embedder
from foretaste.testing.worlds import TARGET, World, backdoored, clean, flipped, phrased

__all__ = [
    "ATTACK_CHECKS",
    "DETECTOR_CHECKS",
    "EMBEDDER_CHECKS",
    "TARGET",
    "DetectorUnderTest",
    "EmbedderUnderTest",
    "Poison",
    "World",
    "backdoored",
    "check_attack",
    "check_detector",
    "check_embedder",
    "clean",
    "flipped",
    "phrased",
]
