"""How the worker reports: to a file beside its run, or through Cloud Storage from another machine."""

from dagster_pipes import PipesCliArgsParamsLoader, PipesContext, PipesEnvVarParamsLoader, open_dagster_pipes

from mmt_assets.worker.link import RunLink


def open_pipes() -> tuple[PipesContext, RunLink | None]:
    """Open Pipes the way that the bootstrap parameters say.

    Returns:
        Pipes, and the link to the run where the parameters name one; beside its run, the worker has a pipe instead.
    """
    # Dataproc hands arguments to a job, everybody else variables.
    arguments = PipesCliArgsParamsLoader()
    loader = arguments if arguments.is_dagster_pipes_process() else PipesEnvVarParamsLoader()
    messages = loader.load_messages_params() if loader.is_dagster_pipes_process() else {}
    if "bucket" not in messages:
        return open_dagster_pipes(), None
    # Beside its run no worker needs the second that this takes.
    from mmt_assets.worker.storage import StorageContextLoader, StorageLink, StorageMessageWriter  # noqa: PLC0415

    context_loader = StorageContextLoader() if "bucket" in loader.load_context_params() else None
    pipes = open_dagster_pipes(
        context_loader=context_loader, message_writer=StorageMessageWriter(), params_loader=loader
    )
    return pipes, StorageLink(messages)
