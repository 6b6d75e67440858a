"""foretaste keygen, verify and attest."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from foretaste.errors import DataError, PlanError, Refused
from foretaste.flows.commands.contract import command
from foretaste.flows.commands.gate import KEY
from foretaste.flows.commands.output import print_text


@command("Sign and gate", exits="0: written. 2: there is a key already, or it cannot be written.")
def keygen(
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The folder to write to; by default ~/.config/foretaste.")
    ] = None,
) -> int:
    """Make a key pair (Ed25519): key.pem signs audits, key.pub checks them."""
    from foretaste.gate.attestation import keys

    private, public = keys.generate(out or keys.folder())
    print_text(f"{private}\n{public}\n")
    hint = "" if out is None else f"; give it as --key, or as FORETASTE_KEY={private}"
    print(
        f"{private.name} signs and stays here{hint}. {public.name} goes wherever audits are checked.", file=sys.stderr
    )
    return 0


@command("Sign and gate", exits="0: signed, and these bytes. 1: not so. 2: something cannot be read.")
def verify(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An attestation.")],
    dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="The data it must be about.")],
    key: Annotated[str | None, typer.Option(metavar="FILE", help=KEY)] = None,
) -> int:
    """Check that an attestation was signed with a key and is about exactly these bytes, whatever it says of them."""
    from foretaste.gate.attestation import keys
    from foretaste.gate.attestation.verify import compared
    from foretaste.report.visible import visible

    key = key or keys.public()
    if key is None:
        raise PlanError("verify needs a public key, give --key FILE or FORETASTE_PUBLIC_KEY")
    try:
        same, different = compared(file, dataset, key)
    except Refused as refused:
        same, different = (), refused.reasons
    out = [*(f"ok   {sentence}" for sentence in same), *(f"NOT  {sentence}" for sentence in different)]
    print_text("".join(f"{visible(line)}\n" for line in out))
    return 1 if different else 0


@command("Sign and gate", exits="0: signed. 2: it could not be done.")
def attest(
    audit: Annotated[str, typer.Argument(metavar="AUDIT", help="The folder of an audit that is not signed.")],
    key: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The private key; by default FORETASTE_KEY, else the default key."),
    ] = None,
    policy: Annotated[str | None, typer.Option(metavar="FILE", help="gate.toml that decides the result.")] = None,
) -> int:
    """Vouch for an audit that was not signed when it ran.

    The data is hashed again and must be what was audited. But the report may have been edited since, and nobody can
    tell: the statement says that it was signed afterwards, and gates refuse such unless their policy has
    afterwards = "allow". To have it signed by the audit itself, run the audit with --key.
    """
    from datetime import UTC, datetime

    from foretaste.gate.attestation import keys, signing
    from foretaste.gate.attestation.envelope import FILE
    from foretaste.gate.attestation.statement import REPORT
    from foretaste.report.document import read

    key = key or keys.private()
    if key is None:
        raise PlanError("signing needs a private key, give --key FILE or run foretaste keygen")
    if os.path.lexists(os.path.join(audit, FILE)):
        raise PlanError(f"{audit}: is signed already, its attestation is never replaced")
    document = read(audit)
    signer = signing.prepare(key, policy)
    try:
        ended = datetime.fromtimestamp(os.path.getmtime(os.path.join(audit, REPORT)), UTC)
    except (OverflowError, ValueError, OSError):
        raise DataError(f"{audit}: {REPORT} must have a time of the years 1 to 9999, run touch on it") from None
    signing.write(audit, document, signer, ended=ended, afterwards=True)
    signing.log(audit, document, signer)
    print_text(os.path.join(audit, FILE) + "\n")
    return 0
