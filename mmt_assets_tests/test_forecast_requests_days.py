"""Requests for a whole day: message and schedule make it once between them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from mmt_assets.assets.run_once import AS_OF_TAG, RERUN_TAG
from mmt_assets.job_names import DAILY_JOB
from mmt_assets.schedules import daily_forecast_schedule
from mmt_assets.settings import Settings
from mmt_assets_tests.request_office import FIRST, Office, history_is_there


def test_a_daily_message_makes_the_last_complete_day_once(office: Office) -> None:
    for _ in range(3):
        office.ask(kind="daily")
    office.ask(kind="daily", as_of_date="2026-01-09")
    report = office.tick()
    assert (report.runs, report.launched) == (1, 4), "the newest day covers those before it"
    [request] = office.made
    assert request.job_name == DAILY_JOB
    assert request.tags[AS_OF_TAG] == "2026-01-10"
    assert str(request.run_key).startswith("daily:2026-01-10:")
    office.ask(kind="daily")
    report = office.tick()
    assert (report.runs, report.joined, report.acknowledged) == (0, 1, 5)
    assert "no run for 2026-01-10: run" in office.message
    assert office.tick().is_idle


def test_a_daily_message_finds_the_run_of_the_schedule(office: Office) -> None:
    office.instance.add_run(
        dg.DagsterRun(job_name=DAILY_JOB, tags={AS_OF_TAG: "2026-01-10"}, status=dg.DagsterRunStatus.SUCCESS)
    )
    office.ask(kind="daily")
    report = office.tick()
    assert (report.runs, report.joined, report.acknowledged) == (0, 1, 1)
    assert "2026-01-10 was made by run" in office.message

    office.ask(kind="daily", rerun=True)
    office.ask(kind="daily")
    report = office.tick()
    assert (report.runs, report.launched, report.joined) == (1, 1, 1)
    [request] = office.made
    assert request.tags[RERUN_TAG] == "true"
    assert str(request.run_key).startswith("rerun:2026-01-10:")


def test_the_schedule_finds_the_run_of_a_daily_message(office: Office, tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as stored:
        # A schedule's context opens the instance by its address.
        history_is_there(stored)
        office.instance = stored
        office.ask(kind="daily")
        office.tick()
        context = dg.build_schedule_context(instance=stored, scheduled_execution_time=datetime.now(UTC))
        data = daily_forecast_schedule(office.settings).evaluate_tick(context)
    assert data.run_requests == []
    assert "for 2026-01-10 is started" in str(data.skip_message)


def test_a_message_without_a_day_means_the_one_that_was_complete_when_it_was_published(
    office: Office,
) -> None:
    office.settings = Settings.model_validate({"home": office.settings.home, "first_day": FIRST, "timezone": "UTC"})
    published = datetime.now(UTC)
    office.ask(kind="daily")
    office.tick(published + timedelta(days=2))
    [pending] = office.waits().pending.values()
    assert pending.day == published.date() - timedelta(days=1)
