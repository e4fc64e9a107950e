"""Where the board is kept: a file, or an object in a bucket. Readers see the old page or the new one."""

from pathlib import Path

from mmt_assets.atomic_file import replacing

GCS = "gs://"


def save_board(page: str, place: str, *, project: str | None = None) -> None:
    """Replace the board as a whole.

    Args:
        page: HTML.
        place: Path of a file, or `gs://bucket/object`.
        project: Google Cloud project, for a bucket.
    """
    if place.startswith(GCS):
        _save_object(page, place, project)
    else:
        _save_file(page, Path(place))


def board_address(place: str) -> str:
    """Address that a browser opens the board by; a bucket's asks for a login that may read it."""
    if place.startswith(GCS):
        return f"https://storage.cloud.google.com/{place.removeprefix(GCS)}"
    return Path(place).absolute().as_uri()


def _save_file(page: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def _save_object(page: str, place: str, project: str | None) -> None:
    # Takes a second to import, and only the cloud needs it.
    from google.cloud import storage  # noqa: PLC0415

    bucket, _, name = place.removeprefix(GCS).partition("/")
    with storage.Client(project=project) as client:
        blob = client.bucket(bucket).blob(name)
        # An upload replaces an object as a whole (Cloud Storage, "Consistency"); nobody may keep an old page.
        blob.cache_control = "no-cache"
        blob.upload_from_string(page.encode(), content_type="text/html; charset=utf-8", timeout=60)
