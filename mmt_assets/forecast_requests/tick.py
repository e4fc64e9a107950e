"""One evaluation of the sensor: settle what earlier ticks asked for, take messages, ask for runs, acknowledge."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import cached_property
from logging import Logger

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG, SENSOR_NAME_TAG

from mmt_assets.assets.messages import REQUESTS_KEY
from mmt_assets.daily import daily_run_request
from mmt_assets.forecast_requests import SENSOR_NAME
from mmt_assets.forecast_requests.cursor import PendingRun, RequestCursor
from mmt_assets.forecast_requests.fate import fate_of
from mmt_assets.forecast_requests.hand import MOST_HELD, Delivery, Hand
from mmt_assets.forecast_requests.judge import ConcertsUnknownError, Rejected, WantedConcert, WantedDay, why_not
from mmt_assets.forecast_requests.rejections import dead_letter, reason, recorded_rejections, rejection_event
from mmt_assets.forecast_requests.report import TickReport
from mmt_assets.gcp.pubsub import PubSub, PubSubError
from mmt_assets.gcp.pubsub_setup import DEAD_LETTERS, REQUESTS
from mmt_assets.job_names import CONCERT_JOB
from mmt_assets.partitions import CONCERTS
from mmt_assets.resources import WarehouseResource
from mmt_assets.settings import Settings

LOGGER = logging.getLogger("mmt_assets.requests")
# Ids of the messages that a run was asked for.
REQUEST_IDS_TAG = "mmt/request_ids"
# A run that is not there by then was given up with its tick: it is asked for again, under the same key.
_ASK_AGAIN_SECONDS = 120.0
_MOST_PULLED = 1000
_PULL_AT_ONCE = 500
_PULL_SECONDS = 4.0
# The first call waits for a message to come; the others only look whether there are more.
_FIRST_PULL_TIMEOUT_SECONDS = 2.0
_NEXT_PULL_TIMEOUT_SECONDS = 1.0
_CALL_TIMEOUT_SECONDS = 2.0
# Each is a request to Dagster's storage for the daemon: what is over the limit stays in hand for the next tick.
_MOST_RUNS = 200
_MOST_DAYS = 4
_MOST_REJECTED = 200
# Rejections whose dead letters could not be published; no more are recorded then.
_MOST_OWED_LETTERS = 1000
_MOST_NAMED_IDS = 40
# So often a run is asked for anew because Dagster lost it.
_MOST_LOST = 2
_RUN_KEYS_AT_ONCE = 100


class Tick:
    """One evaluation.

    Attributes:
        cursor: State, changed on the way and handed back in the result.
        report: What was done.
    """

    def __init__(
        self,
        *,
        instance: dg.DagsterInstance,
        settings: Settings,
        warehouse: WarehouseResource,
        pubsub: PubSub,
        hand: Hand,
        cursor: str | None,
        log: Logger,
        now: datetime | None = None,
    ) -> None:
        self._instance = instance
        self._settings = settings
        self._warehouse = warehouse
        self._pubsub = pubsub
        self._hand = hand
        self._log = log
        self._now = now or datetime.now(UTC)
        self._started = time.monotonic()
        self._requests: list[dg.RunRequest] = []
        self._events: list[dg.AssetObservation] = []
        self._new_partitions: list[str] = []
        self.cursor = RequestCursor.load(cursor, self._now.timestamp())
        # Those that this tick rejects are not recorded before it has ended.
        self._rejected_before = set(self.cursor.rejected)
        self._just_answered = set[str]()
        self.report = TickReport()

    def evaluate(self) -> dg.SensorResult:
        """Do it.

        Raises:
            PubSubError: Pub/Sub refuses or is out of reach; nothing is lost, the cursor stays as it was.
        """
        self._settle()
        try:
            self._pull()
            self._answer()
            self._publish_dead_letters()
            self._acknowledge()
        except PubSubError:
            self._hand.trust_no_ack_id()
            raise
        return self._result()

    def _settle(self) -> None:
        """Look which runs are there; ask again for those that should be long since, and for those that were lost."""
        before = self.cursor.answered_messages()
        runs = self._runs_by_key([*self.cursor.pending, *self.cursor.watched])
        for key, pending in list(self.cursor.pending.items()):
            # A run that is only a row may never be handed to the queue.
            if any(run.dagster_run.status != dg.DagsterRunStatus.NOT_STARTED for run in runs[key]):
                self.cursor.settle(key)
            elif self._now.timestamp() - pending.asked_at > _ASK_AGAIN_SECONDS:
                self._ask(key, pending)
        for key, watched in list(self.cursor.watched.items()):
            fate = fate_of(runs[key], self._now.timestamp())
            if fate == "on its way":
                continue
            del self.cursor.watched[key]
            if fate == "lost" and watched.again < _MOST_LOST:
                self._log.warning(f"Dagster lost the run of {key}: it is asked for again")
                again = watched.model_copy(update={"again": watched.again + 1})
                next_key = f"{key.removesuffix(f':again{watched.again}')}:again{again.again}"
                self.cursor.pending[next_key] = again
                self._ask(next_key, again)
        self._just_answered = self.cursor.answered_messages() - before

    def _runs_by_key(self, keys: list[str]) -> dict[str, list[dg.RunRecord]]:
        found = defaultdict[str, list[dg.RunRecord]](list)
        for first in range(0, len(keys), _RUN_KEYS_AT_ONCE):
            asked = dg.RunsFilter(tags={RUN_KEY_TAG: keys[first : first + _RUN_KEYS_AT_ONCE]})
            for record in self._instance.get_run_records(asked):
                found[record.dagster_run.tags[RUN_KEY_TAG]].append(record)
        return found

    def _pull(self) -> None:
        """Take messages, bounded in number and time."""
        timeout = _FIRST_PULL_TIMEOUT_SECONDS
        while time.monotonic() - self._started < _PULL_SECONDS:
            room = min(_MOST_PULLED - self.report.pulled, MOST_HELD - len(self._hand.deliveries), _PULL_AT_ONCE)
            if room <= 0:
                self.report.is_drained = False
                return
            messages = self._pubsub.pull(REQUESTS.subscription, room, timeout=timeout)
            if not messages:
                return
            for message in messages:
                self._hand.take(message, self._settings, self._now)
            self.report.pulled += len(messages)
            timeout = _NEXT_PULL_TIMEOUT_SECONDS
        self.report.is_drained = False

    def _answer(self) -> None:
        """Find what each message in hand still needs."""
        pending, answered = self.cursor.run_keys_by_message(), self.cursor.answered_messages()
        concerts, days, rejected = defaultdict[str, list[Delivery]](list), list[Delivery](), list[Delivery]()
        for delivery in self._hand.deliveries.values():
            if delivery.identity in answered:
                # A message whose run is there since this tick is no duplicate.
                self.report.duplicate += delivery.identity not in self._just_answered
            elif delivery.identity in pending or delivery.identity in self.cursor.rejected:
                continue
            elif isinstance(delivery.wanted, Rejected):
                rejected.append(delivery)
            elif isinstance(delivery.wanted, WantedConcert):
                concerts[delivery.wanted.concert_id].append(delivery)
            else:
                days.append(delivery)
        if concerts:
            rejected += self._answer_concerts(concerts)
        if days:
            self._answer_days(days)
        if rejected:
            self._reject(rejected)

    def _answer_concerts(self, wanted: dict[str, list[Delivery]]) -> list[Delivery]:
        """One run for each concert; returns the messages that can never be done."""
        try:
            known = self._hand.concerts.concerts(self._instance, self._warehouse, self._settings, self._now)
        except ConcertsUnknownError as error:
            self.report.waiting += sum(map(len, wanted.values()))
            self.report.notes.append(f"requests for concerts wait: {error}")
            return []
        rejected = list[Delivery]()
        asked = {run.concert_id: run for run in self.cursor.pending.values() if run.concert_id}
        queued = self._queued_concert_runs()
        for concert_id, deliveries in wanted.items():
            if why := why_not(concert_id, known):
                for delivery in deliveries:
                    delivery.wanted = Rejected(why)
                rejected += deliveries
            elif pending := asked.get(concert_id):
                self._join_pending(pending, deliveries)
            elif run_id := queued.get(concert_id):
                self._join_run(deliveries, f"concert {concert_id}: run {run_id} is queued")
            elif len(self._requests) < _MOST_RUNS:
                self._ask_first(deliveries, f"concert:{concert_id}", concert_id=concert_id)
            else:
                self.report.waiting += len(deliveries)
        return rejected

    def _queued_concert_runs(self) -> dict[str, str]:
        """Runs of this sensor that have not started, by concert: what they read is newer than any message here."""
        queued = dg.RunsFilter(
            job_name=CONCERT_JOB, statuses=[dg.DagsterRunStatus.QUEUED], tags={SENSOR_NAME_TAG: SENSOR_NAME}
        )
        return {run.tags["dagster/partition"]: run.run_id for run in self._instance.get_runs(queued)}

    def _answer_days(self, deliveries: list[Delivery]) -> None:
        """One run for the newest day, which covers those before it, and one for each day that is made again."""
        again, plain = defaultdict[date, list[Delivery]](list), list[Delivery]()
        for delivery in deliveries:
            if isinstance(delivery.wanted, WantedDay) and delivery.wanted.rerun:
                again[delivery.wanted.day].append(delivery)
            else:
                plain.append(delivery)
        groups = [(day, True, group) for day, group in sorted(again.items())]
        if plain:
            newest = max(delivery.wanted.day for delivery in plain if isinstance(delivery.wanted, WantedDay))
            groups.append((newest, False, plain))
        for day, rerun, group in groups[:_MOST_DAYS]:
            self._answer_day(day, group, rerun=rerun)
        self.report.waiting += sum(len(group) for _, _, group in groups[_MOST_DAYS:])

    def _answer_day(self, day: date, deliveries: list[Delivery], *, rerun: bool) -> None:
        for pending in self.cursor.pending.values():
            if pending.day == day:
                pending.rerun |= rerun
                self._join_pending(pending, deliveries)
                return
        kind = "rerun" if rerun else "daily"
        self._ask_first(deliveries, f"{kind}:{day}", day=day, rerun=rerun)

    def _ask_first(
        self,
        deliveries: list[Delivery],
        name: str,
        *,
        concert_id: str | None = None,
        day: date | None = None,
        rerun: bool = False,
    ) -> None:
        """Ask for the run of these messages; its key names the first of them, so each request has its own."""
        ordered = sorted(deliveries, key=lambda delivery: (delivery.published_at, delivery.message_id))
        ids = [delivery.message_id for delivery in ordered]
        more = f" and {len(ids) - _MOST_NAMED_IDS} more" if len(ids) > _MOST_NAMED_IDS else ""
        pending = PendingRun(
            identities=[delivery.identity for delivery in ordered],
            asked_at=self._now.timestamp(),
            published_at=ordered[0].published_at.timestamp(),
            concert_id=concert_id,
            day=day,
            rerun=rerun,
            request_ids=", ".join(ids[:_MOST_NAMED_IDS]) + more,
        )
        key = f"{name}:{ordered[0].message_id}:{ordered[0].identity}"
        self.cursor.pending[key] = pending
        if self._ask(key, pending):
            self.report.launched += len(deliveries)
        else:
            self.report.joined += len(deliveries)

    def _ask(self, key: str, pending: PendingRun) -> bool:
        """Ask Dagster for a run, unless the day needs none; returns whether it was asked."""
        pending.asked_at = self._now.timestamp()
        if pending.day is None:
            if pending.concert_id not in self._partitions:
                self._new_partitions.append(str(pending.concert_id))
            answer = dg.RunRequest(job_name=CONCERT_JOB, partition_key=pending.concert_id)
        else:
            answer = daily_run_request(self._instance, self._settings, pending.day, rerun=pending.rerun)
        if isinstance(answer, dg.SkipReason):
            # Whatever makes the day is in Dagster already.
            self.cursor.answer(self.cursor.pending.pop(key).identities)
            self.report.notes.append(f"no run for {pending.day}: {answer.skip_message}")
            return False
        tags = {**answer.tags, REQUEST_IDS_TAG: pending.request_ids}
        self._requests.append(answer.with_replaced_attrs(run_key=key, tags=tags))
        self.report.runs += 1
        return True

    @cached_property
    def _partitions(self) -> set[str]:
        return set(self._instance.get_dynamic_partitions(str(CONCERTS.name)))

    def _join_pending(self, pending: PendingRun, deliveries: list[Delivery]) -> None:
        pending.identities += [delivery.identity for delivery in deliveries]
        self.report.joined += len(deliveries)

    def _join_run(self, deliveries: list[Delivery], told: str) -> None:
        """A run that will start later than these messages were published is their answer: it exists, so they are."""
        self.cursor.answer([delivery.identity for delivery in deliveries])
        self.report.joined += len(deliveries)
        self._log.info(f"{told}: it answers {_ids(deliveries)}")

    def _reject(self, deliveries: list[Delivery]) -> None:
        """Record rejections; the next tick, which knows that they are recorded, publishes the dead letters."""
        room = max(0, min(_MOST_REJECTED, _MOST_OWED_LETTERS - len(self.cursor.rejected)))
        self.report.waiting += len(deliveries[room:])
        recorded = recorded_rejections(self._instance, deliveries[:room])
        for delivery in deliveries[:room]:
            self.cursor.rejected[delivery.identity] = self.cursor.seconds_at_work
            self.report.rejected += 1
            self._log.error(f"request {delivery.message_id} is rejected: {reason(delivery)}")
            if delivery.identity not in recorded:
                LOGGER.warning(f"request {delivery.message_id} is rejected", extra={"event": "request_rejected"})
                self._events.append(rejection_event(delivery))

    def _publish_dead_letters(self) -> None:
        """Publish the rejections that an earlier tick recorded. Without dead letters everything else goes on."""
        due = [
            delivery
            for delivery in self._hand.deliveries.values()
            if delivery.identity in self._rejected_before and not self._hand.was_dead_lettered(delivery.identity)
        ][:_MOST_REJECTED]
        if not due:
            return
        try:
            letters = [dead_letter(delivery) for delivery in due]
            self._pubsub.publish_all(DEAD_LETTERS.topic, letters, timeout=_CALL_TIMEOUT_SECONDS)
        except PubSubError as error:
            self._log.error(f"{len(due)} rejected messages stay with Pub/Sub: {error}")
            self.report.notes.append(f"no dead letters: {error}")
            # They are delivered again; meanwhile they take no room from requests.
            self._hand.let_go_of_rejected()
            return
        self._hand.dead_lettered([delivery.identity for delivery in due])
        self.report.dead_lettered = len(due)

    def _acknowledge(self) -> None:
        """Acknowledge what is answered or dead-lettered, as far as it is in hand."""
        answered = self.cursor.answered_messages()
        done = [
            delivery
            for delivery in self._hand.deliveries.values()
            if delivery.identity in answered or self._hand.was_dead_lettered(delivery.identity)
        ]
        known = [delivery for delivery in done if delivery.ack_id]
        if known:
            self._pubsub.acknowledge(
                REQUESTS.subscription, [delivery.ack_id for delivery in known], timeout=_CALL_TIMEOUT_SECONDS
            )
            self._hand.acknowledged([delivery.identity for delivery in known])
            self.report.acknowledged = len(known)
        # The cursor knows what became of the others when they are delivered again.
        self._hand.let_go([delivery.identity for delivery in done if not delivery.ack_id])
        # Also those of a tick that came to nothing afterwards.
        self.cursor.dead_letter([name for name in self.cursor.rejected if self._hand.was_acknowledged(name)])

    def _result(self) -> dg.SensorResult:
        report = self.report
        report.pending = sum(len(run.identities) for run in self.cursor.pending.values())
        unanswered = [self.cursor.oldest_published_at() or self._now.timestamp()]
        answered = self.cursor.answered_messages()
        unanswered += [
            delivery.published_at.timestamp()
            for delivery in self._hand.deliveries.values()
            if delivery.identity not in answered
        ]
        report.oldest_seconds = max(0.0, self._now.timestamp() - min(unanswered))
        report.seconds = time.monotonic() - self._started
        if not report.is_idle:
            metadata = report.metadata(self.cursor.dead_letters)
            self._events.append(dg.AssetObservation(REQUESTS_KEY, metadata=metadata))
        sentence = report.sentence()
        if self._requests:
            self._log.info(sentence)
        partitions = [CONCERTS.build_add_request(self._new_partitions)] if self._new_partitions else []
        return dg.SensorResult(
            run_requests=self._requests or None,
            skip_reason=None if self._requests else dg.SkipReason(sentence),
            cursor=self.cursor.dump(),
            dynamic_partitions_requests=partitions,
            asset_events=self._events,
        )


def _ids(deliveries: Iterable[Delivery]) -> str:
    return ", ".join(delivery.message_id for delivery in deliveries)
