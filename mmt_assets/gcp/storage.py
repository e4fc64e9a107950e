"""Cloud Storage, as the run and its worker on another machine use it."""

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage


def open_bucket(name: str, *, project: str | None = None, endpoint: str | None = None) -> storage.Bucket:
    """A bucket. Nothing is asked of it: whoever may use its objects need not be allowed to look at the bucket itself.

    Args:
        name: Bucket.
        project: Project that pays; default that of the credentials.
        endpoint: Address of a test server, with its scheme; None for Google's.
    """
    if endpoint is None:
        return storage.Client(project=project).bucket(name)
    options = {"api_endpoint": endpoint}
    client = storage.Client(project=project or "test", credentials=AnonymousCredentials(), client_options=options)
    return client.bucket(name)
