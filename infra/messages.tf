# Requests to forecast, and what analysis servers say when they are done. Names are the code location's defaults.

locals {
  # Topic and what may wait on it. Dead letters have a subscription too, or they would be lost at once.
  queues = {
    requests = { topic = "mmt-forecast-requests", subscription = "mmt-forecast-requests" }
    vm       = { topic = "mmt-vm-events", subscription = "mmt-vm-events" }
  }
  dead_letters = "mmt-forecast-requests-dead-letter"
}

resource "google_pubsub_topic" "queue" {
  for_each = local.queues

  name                       = each.value.topic
  message_retention_duration = "604800s"

  depends_on = [google_project_service.api]
}

resource "google_pubsub_topic" "dead_letters" {
  name                       = local.dead_letters
  message_retention_duration = "2678400s"

  depends_on = [google_project_service.api]
}

resource "google_pubsub_subscription" "queue" {
  for_each = local.queues

  name                       = each.value.subscription
  topic                      = google_pubsub_topic.queue[each.key].id
  ack_deadline_seconds       = 120
  message_retention_duration = "604800s"
  retain_acked_messages      = false

  # Never by itself: a request that nobody came for in a year is still a request.
  expiration_policy {
    ttl = ""
  }

  # The sensor dead-letters what it cannot read, with a reason; this catches what even the sensor cannot survive.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters.id
    max_delivery_attempts = 100
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "120s"
  }
}

resource "google_pubsub_subscription" "dead_letters" {
  name                       = local.dead_letters
  topic                      = google_pubsub_topic.dead_letters.id
  ack_deadline_seconds       = 120
  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub itself moves a message that was delivered too often: its own agent publishes and acknowledges.
resource "google_pubsub_topic_iam_member" "service_agent_publishes" {
  topic  = google_pubsub_topic.dead_letters.id
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_subscription_iam_member" "service_agent_acknowledges" {
  for_each = local.queues

  subscription = google_pubsub_subscription.queue[each.key].id
  role         = "roles/pubsub.subscriber"
  member       = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_subscription_iam_member" "orchestrator_pulls" {
  for_each = local.queues

  subscription = google_pubsub_subscription.queue[each.key].id
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.orchestrator.member
}

# Silence is told from an empty queue by asking for the subscription itself.
resource "google_pubsub_subscription_iam_member" "orchestrator_looks" {
  for_each = local.queues

  subscription = google_pubsub_subscription.queue[each.key].id
  role         = "roles/pubsub.viewer"
  member       = google_service_account.orchestrator.member
}

resource "google_pubsub_topic_iam_member" "orchestrator_dead_letters" {
  topic  = google_pubsub_topic.dead_letters.id
  role   = "roles/pubsub.publisher"
  member = google_service_account.orchestrator.member
}

resource "google_pubsub_topic_iam_member" "analysis_says_it_is_done" {
  topic  = google_pubsub_topic.queue["vm"].id
  role   = "roles/pubsub.publisher"
  member = google_service_account.analysis.member
}

# The case study's trigger: once a day, a message. The code location's own schedule asks the same function, so a
# day that both ask for runs once.
resource "google_cloud_scheduler_job" "daily" {
  name      = "mmt-daily-forecast"
  region    = var.region
  schedule  = "${var.daily_at.minute} ${var.daily_at.hour} * * *"
  time_zone = var.time_zone

  pubsub_target {
    topic_name = google_pubsub_topic.queue["requests"].id
    data       = base64encode(jsonencode({ kind = "daily" }))
  }

  retry_config {
    retry_count          = 5
    min_backoff_duration = "30s"
  }

  depends_on = [google_project_service.api]
}
