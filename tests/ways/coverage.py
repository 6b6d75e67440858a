"""What was audited is not what is trained on: other columns, a plan that finds nothing, classes that nobody tested."""

from __future__ import annotations

from typing import Any

from attested import run
from ways.contract import Options, Scene, way

from foretaste.gate.columns import reading

ROLES = {"modality": "features", "payload": ["id"], "label": "label", "id": None, "source": None}
CHOSEN_LABEL = {"roles": ROLES | {"label": "fold", "chosen": ["label"], "unread": []}}
CHOSEN_ROWS = {"roles": ROLES | {"payload": ["noise"], "chosen": ["features"], "unread": []}}
DECOYS = {"roles": ROLES | {"chosen": [], "unread": ["pixels"]}}
SAY = ": say what the job reads"


def job(**said: Any) -> Options:
    return {"reads": reading(said, "gate:")}


def audited(scene: Scene, **stated: Any) -> Options:
    """A newer audit that passed, of the same bytes."""
    scene.workshop.sign(**stated)
    return {}


FOLD, NOISE = "somebody chose that the audit read label = fold", "somebody chose the columns that the audit read"
for name, said, stated, asked in [
    ("label = fold was chosen", FOLD + SAY, CHOSEN_LABEL, {}),
    ("the job reads another label", "label = label, and the audit label = fold", CHOSEN_LABEL, job(label="label")),
    ("the job reads the chosen label", "", CHOSEN_LABEL, job(label="fold")),
    ("features = noise were chosen", f"{NOISE} (features = noise){SAY}", CHOSEN_ROWS, {}),
    ("the job reads pictures", "image = id, and the audit read features = noise", CHOSEN_ROWS, job(image="id")),
    ("pixels lie beside what was read", f"nobody looked at pixels{SAY}", DECOYS, {}),
    ("the job reads pixels", "image = pixels, and the audit read features = id", DECOYS, job(image="pixels")),
    ("the job reads what was read", "", DECOYS, job(features=["id"])),
]:

    @way(f"columns: {name}", said)
    def _(scene: Scene, stated: dict[str, Any] = stated, asked: Options = asked) -> Options:
        return audited(scene, **stated) | asked


@way("columns: gate.toml names what jobs read", "the job reads label = label, and the audit label = fold")
def _(scene: Scene) -> Options:
    return audited(scene, **CHOSEN_LABEL) | scene.policy('[reads]\nlabel = "label"')


@way("plan: one that finds little", "and the policy's plans are the release's default plan")
def _(scene: Scene) -> Options:
    return audited(scene, ordinary=False)


@way("plan: any, where the policy wants it so", "")
def _(scene: Scene) -> Options:
    rules = scene.policy('plans = ["any"]')
    scene.workshop.sign(policy=policy_file(rules), ordinary=False)
    return rules


def policy_file(options: Options) -> Any:
    from foretaste.gate.policy_file import load

    return load(options["policy"])


@way("classes: 120 of 15 rows, of which none was tested", "the audit was inconclusive: no class has rows enough")
def _(scene: Scene) -> Options:
    reason = "no class has rows enough to be tested for an attack, so nothing can be said of it"
    return audited(scene, verdict="inconclusive", reason=reason, runs=[run() | {"rows": 0}])


@way("classes: none was tested, and the audit passed", "no run tested any row")
def _(scene: Scene) -> Options:
    return audited(scene, runs=[run() | {"rows": 0}, run("labels") | {"rows": 0}])


@way("classes: a tenth of the rows was tested", "spectral-signature tested classes with 20 of 200 rows")
def _(scene: Scene) -> Options:
    return audited(scene, runs=[run() | {"rows": 20}, run("labels")])


@way("classes: none was tested, and a waiver covers the dataset", "the audit was inconclusive: x")
def _(scene: Scene) -> Options:
    audited(scene, verdict="inconclusive", reason="x", runs=[run() | {"rows": 0}])
    waiver = f'[[waiver]]\ndataset = "{scene.workshop.decide().digest}"\nby = "ada"\nwhy = "x"\nuntil = 9999-12-30'
    return scene.policy(f"min_tested = 0\n{waiver}")
