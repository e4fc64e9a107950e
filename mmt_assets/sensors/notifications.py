"""Tells people what changed, and of days that failed. Off until channels are set."""

from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mmt_assets.assets.catalog import asset_key
from mmt_assets.assets.run_once import AS_OF_TAG
from mmt_assets.contracts import CONCERT_OUTLOOK
from mmt_assets.daily import CATCH_UP_TAG
from mmt_assets.notifications import digest, record, send
from mmt_assets.resources import WarehouseResource
from mmt_assets.settings import Settings
from mmt_assets.warehouse import WarehouseBusyError

# On the failed run that people were told of; the value is the day.
NOTIFIED_TAG = "mmt/notified"
OFF = "notifications are off: set MMT_NOTIFY_URLS, or MMT_NOTIFY_DRY_RUN to see them in this log"
_BUSY_TIMEOUT_SECONDS = 10.0
_OUTLOOK = asset_key(CONCERT_OUTLOOK)


def _default_status(settings: Settings) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if settings.notifies() else dg.DefaultSensorStatus.STOPPED


def notification_sensor(settings: Settings) -> dg.SensorDefinition:
    """After each new outlook of the last complete day: one message with the alerts that nobody was told of yet."""

    @dg.sensor(
        name="notification_sensor",
        minimum_interval_seconds=60,
        default_status=_default_status(settings),
        description="Tells the channels of MMT_NOTIFY_URLS of concerts behind, stalled or likely to sell out, and of "
        "data that stopped, once for each spell.",
    )
    def sensor(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SkipReason:
        if not settings.notifies():
            return dg.SkipReason(OFF)
        made = context.instance.get_latest_materialization_event(_OUTLOOK)
        if made is None:
            return dg.SkipReason("no outlook was made yet")
        day = settings.last_complete_day(datetime.now(UTC))
        seen = f"{day} {made.timestamp}"
        if context.cursor == seen:
            return dg.SkipReason(f"the outlook as of {day} was looked at")
        try:
            told = _tell(context, settings, warehouse)
        except WarehouseBusyError as error:
            return dg.SkipReason(f"looking again in a minute: {error}")
        context.update_cursor(seen)
        return dg.SkipReason(told)

    return sensor


def _tell(context: dg.SensorEvaluationContext, settings: Settings, warehouse: WarehouseResource) -> str:
    """Send the day's digest and remember it, in this order: rather twice than never."""
    day = settings.last_complete_day(datetime.now(UTC))
    impatient = warehouse.waiting_at_most(_BUSY_TIMEOUT_SECONDS)
    with impatient.open() as session:
        found = digest(session, day, again_days=settings.notify_again_days)
    if found is None:
        return f"there is no live outlook as of {day}"
    if settings.notify_dry_run:
        context.log.info(f"dry run, not sent: {found.title}\n{found.body}")
        return f"dry run: {len(found.news)} new alerts as of {day}"
    failed = send(settings.channels(), found.title, found.body) if len(found.news) else 0
    if failed:
        context.log.warning(f"{failed} of {len(settings.channels())} channels did not take the message")
    with impatient.open() as session:
        record(session, found)
    return f"{len(found.news)} new alerts as of {day}, {len(found.ongoing)} known ones still hold"


def failed_day_sensor(settings: Settings, daily_job: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Tells people that a day's run failed and is not launched again, once for each day."""

    @dg.run_failure_sensor(
        name="failed_day_sensor",
        monitored_jobs=[daily_job],
        minimum_interval_seconds=30,
        default_status=_default_status(settings),
        description="Tells the channels of MMT_NOTIFY_URLS that a day failed for good, once for each day.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> dg.SkipReason:
        if not settings.notifies():
            return dg.SkipReason(OFF)
        # As it is now: whether it is launched again is noted after it failed.
        run = context.instance.get_run_by_id(context.dagster_run.run_id) or context.dagster_run
        day = run.tags.get(AS_OF_TAG) or run.tags.get(CATCH_UP_TAG) or f"run {run.run_id}"
        if run.tags.get("dagster/will_retry") == "true":
            return dg.SkipReason(f"{day}: the run is launched again")
        # The warehouse may be what failed, so the instance remembers.
        if context.instance.get_runs(dg.RunsFilter(tags={NOTIFIED_TAG: day}), limit=1):
            return dg.SkipReason(f"{day}: people were told")
        title = f"Forecasts of {day} failed"
        body = f"{context.failure_event.message}\nRun {run.run_id}. Earlier forecasts stay as they are."
        if settings.notify_dry_run:
            context.log.info(f"dry run, not sent: {title}\n{body}")
            return dg.SkipReason(f"dry run: {title}")
        send(settings.channels(), title, body, is_failure=True)
        context.instance.add_run_tags(run.run_id, {NOTIFIED_TAG: day})
        return dg.SkipReason(f"told: {title}")

    return sensor
