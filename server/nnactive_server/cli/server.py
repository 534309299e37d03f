"""`nnactive serve` and `nnactive token`."""

from __future__ import annotations

import logging
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from nnactive_server.cli.session import Json, session
from nnactive_server.core.errors import ServerError
from nnactive_server.core.roles import Role

if TYPE_CHECKING:
    from nnactive_server.store import Store

Data = Annotated[Path, typer.Option(help="Folder that holds everything the server keeps; made when missing.")]

tokens = typer.Typer(
    help="Who may use a server: make, list and revoke access tokens. Works while the server runs.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.add_typer(tokens, name="token")


def serve(
    data: Data,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.")] = 8000,
    executor: Annotated[
        str, typer.Option(help="Where jobs run; 'local' is this machine, one job a GPU.")
    ] = "local",
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A host name under which clients call this server; repeat."),
    ] = None,
    import_root: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folder from which cases may be added without uploading; repeat."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="Let other machines connect without encryption.")
    ] = False,
    end_with: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="End when no program keeps a lock on a file in this folder any more.",
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE_OR_DIR",
            help="An analysed study, or its saving.json: statistics then tell what was saved, by simulation.",
        ),
    ] = None,
) -> None:
    """Serve projects, patches, answers and training to 3D Slicer and other clients.

    Stop it at any moment: answers are safe, and a training goes on from its checkpoint at the next start.

    Example: nnactive serve --data /srv/nnactive

    Example: nnactive serve --data /srv/nnactive --host 0.0.0.0 --name gpu1.clinic.example
    --tls-cert cert.pem --tls-key key.pem
    """
    if executor != "local":
        raise typer.BadParameter("only 'local' is built", param_hint="--executor")
    with session(as_json=False) as run:
        from nnactive_server.api.run import Listening
        from nnactive_server.api.run import serve as serve_until_stopped
        from nnactive_server.api.settings import Settings

        settings = Settings(
            data=data.resolve(),
            host=host,
            port=port,
            names=frozenset(name or ()),
            import_roots=tuple(import_root or ()),
            certificate=tls_cert,
            key=tls_key,
            plain_http=plain_http,
            end_with=end_with.resolve() if end_with else None,
            study=study,
        )
        logging.basicConfig(
            level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )

        def tell(listening: Listening) -> None:
            lines = [f"NNActive server: {listening.url}"]
            if listening.new_token:
                lines.append(f"Token of the administrator, shown once: {listening.new_token}")
                lines.append(f"  also in {listening.token_file}, which only you can read")
            lines.append("Open the address in a browser to watch it (any user name, the token as password).")
            typer.echo("\n".join(lines), err=True)

        serve_until_stopped(settings, tell)
        run.result({}, "The server has ended.")


@tokens.command("create")
def create(
    data: Data,
    name: Annotated[str, typer.Option(help="Of the person or program.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.ANNOTATOR,
    as_json: Json = False,
) -> None:
    """Make a token. Its secret is shown once and cannot be shown again.

    Example: nnactive token create --data /srv/nnactive --name ann --role annotator
    """
    # Also before the first start, so that the server need not make a token of its own.
    with session(as_json) as run, _store(data, new=True) as store:
        token, secret = store.tokens.create(name, role)
        document = {"id": token.id, "name": token.name, "role": token.role, "token": secret}
        run.result(document, f"Token of {token.name} ({token.role}), shown once:\n{secret}")


@tokens.command("list")
def list_(data: Data, as_json: Json = False) -> None:
    """List all tokens, without their secrets."""
    with session(as_json) as run, _store(data) as store:
        known = store.tokens.list()
        table = Table("id", "name", "role", "made", "revoked")
        for one in known:
            table.add_row(one.id, one.name, one.role, _day(one.created), _day(one.revoked))
        rows = [
            {"id": t.id, "name": t.name, "role": t.role, "created": t.created, "revoked": t.revoked}
            for t in known
        ]
        run.result({"tokens": rows}, table)


@tokens.command("revoke")
def revoke(
    data: Data,
    token: Annotated[str, typer.Argument(help="Name or id.")],
    as_json: Json = False,
) -> None:
    """End a token, at once and for good."""
    with session(as_json) as run, _store(data) as store:
        ended = store.tokens.revoke(token)
        run.result({"id": ended.id, "name": ended.name}, f"The token of {ended.name} is no longer valid.")


def _store(data: Path, new: bool = False) -> Store:
    from nnactive_server.store import Store
    from nnactive_server.store.state import DATABASE

    if not new and not (data / DATABASE).is_file():
        raise ServerError(f"{data}: no server was ever started here; check --data")
    return Store(data)


def _day(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"
