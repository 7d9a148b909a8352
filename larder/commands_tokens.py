"""Commands for the list of callers. Each imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from larder.session import Json

app = typer.Typer(
    name="token",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Say who may call the server: one bearer token a caller.

    With the first token the server answers nobody without one, running servers included; health and reflection stay
    open. The list, `callers` in the workspace or LARDER_CALLERS_FILE, holds digests: a secret that is lost cannot be
    read from it. Changes count within a second.

    Example: `larder token new feed --role score --days 90`
    """,
)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Who gets it; logs name the caller by this.")],
    roles: Annotated[
        list[str], typer.Option("--role", help="score (ask), log (tell what users did) or admin (all); repeatable.")
    ],
    days: Annotated[float, typer.Option(help="How long it is good for.", min=0)] = 90,
) -> None:
    """Make a token, print its secret, which is shown this once, and put its digest on the list.

    Callers send it as `authorization: Bearer SECRET`.

    Example: `larder token new feed --role score --role log --days 90`
    """
    from feature_repo.settings import load_settings
    from grpc_api.security.tokens import add_token, new_token
    from larder.display import Display

    path = load_settings().callers_path
    secret, token = new_token(name, roles, days)
    add_token(path, token)
    sys.stdout.write(f"{secret}\n")
    Display().note(f"{name} is on the list {path} until {token.expires:%Y-%m-%d}; the secret is shown this once")


@app.command("list")
def show(as_json: Json = False) -> None:
    """List who may call, with roles and last days.

    Example: `larder token list`
    """
    from feature_repo.settings import load_settings
    from grpc_api.security.tokens import read_tokens
    from larder.display import Display, print_json

    tokens = read_tokens(load_settings().callers_path)
    if as_json:
        print_json([{"name": t.name, "roles": sorted(t.roles), "expires": t.expires} for t in tokens])
    else:
        rows = [(t.name, ", ".join(sorted(t.roles)), f"{t.expires:%Y-%m-%d}") for t in tokens]
        Display().table("callers", ("name", "roles", "expires"), rows)


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="Whose token.")]) -> None:
    """Take a caller's token off the list.

    Example: `larder token revoke feed`
    """
    from feature_repo.settings import load_settings
    from grpc_api.security.tokens import revoke_token
    from larder.display import Display

    path = load_settings().callers_path
    revoke_token(path, name)
    Display().note(f"{name} is off the list {path}")
