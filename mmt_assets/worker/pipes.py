"""How the worker reports: to a file beside its run, or through Cloud Storage from another machine."""

from dagster_pipes import PipesContext, PipesEnvVarParamsLoader, open_dagster_pipes

from mmt_assets.worker.link import RunLink


def open_pipes() -> tuple[PipesContext, RunLink | None]:
    """Open Pipes the way that the bootstrap parameters say.

    Returns:
        Pipes, and the link to the run where the parameters name one; beside its run, the worker has a pipe instead.
    """
    loader = PipesEnvVarParamsLoader()
    messages = loader.load_messages_params() if loader.is_dagster_pipes_process() else {}
    if "bucket" not in messages:
        return open_dagster_pipes(), None
    # Beside its run no worker needs the second that this takes.
    from mmt_assets.worker.storage import StorageContextLoader, StorageLink, StorageMessageWriter  # noqa: PLC0415

    context_loader = StorageContextLoader() if "bucket" in loader.load_context_params() else None
    pipes = open_dagster_pipes(context_loader=context_loader, message_writer=StorageMessageWriter())
    return pipes, StorageLink(messages)
