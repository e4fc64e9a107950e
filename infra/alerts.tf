# Each alert has an entry of the same name in docs/runbook.md.

resource "google_monitoring_notification_channel" "email" {
  for_each = var.alert_emails

  display_name = each.value
  type         = "email"

  labels = {
    email_address = each.value
  }

  depends_on = [google_project_service.api]
}

locals {
  channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  runbook  = "https://${var.domain}: see docs/runbook.md, entry \"%s\"."

  analysis_server = "resource.type = \"gce_instance\" AND metadata.user_labels.\"role\" = \"analysis\""

  # Thresholds on one time series each.
  threshold_alerts = {
    server-up-too-long = {
      title     = "Analysis server up too long"
      filter    = "metric.type = \"compute.googleapis.com/instance/uptime_total\" AND ${local.analysis_server}"
      aligner   = "ALIGN_MAX"
      above     = var.analysis_max_seconds
      lasting   = "300s"
      alignment = "300s"
    }
    server-memory = {
      title     = "Analysis server short of memory"
      filter    = "metric.type = \"agent.googleapis.com/memory/percent_used\" AND metric.labels.state = \"used\" AND ${local.analysis_server}"
      aligner   = "ALIGN_MAX"
      above     = 90
      lasting   = "120s"
      alignment = "60s"
    }
    oldest-request = {
      title     = "A request has waited too long"
      filter    = "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${local.queues.requests.subscription}\""
      aligner   = "ALIGN_MAX"
      above     = 900
      lasting   = "0s"
      alignment = "60s"
    }
    dead-letters = {
      title     = "Requests that could not be read"
      filter    = "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${local.dead_letters}\""
      aligner   = "ALIGN_MAX"
      above     = 0
      lasting   = "0s"
      alignment = "60s"
    }
    failed-day = {
      title     = "The day's forecast failed"
      filter    = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.event["failed_day"].name}\" AND resource.type = \"gce_instance\""
      aligner   = "ALIGN_SUM"
      above     = 0
      lasting   = "0s"
      alignment = "300s"
    }
    leaked-server = {
      title     = "A server had to be reaped"
      filter    = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.event["leaked_server"].name}\" AND resource.type = \"gce_instance\""
      aligner   = "ALIGN_SUM"
      above     = 0
      lasting   = "0s"
      alignment = "300s"
    }
  }
}

resource "google_monitoring_alert_policy" "threshold" {
  for_each = local.threshold_alerts

  display_name          = each.value.title
  combiner              = "OR"
  notification_channels = local.channels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.above
      duration        = each.value.lasting

      aggregations {
        alignment_period   = each.value.alignment
        per_series_aligner = each.value.aligner
      }
    }
  }

  documentation {
    content   = format(local.runbook, each.key)
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"
  }
}

resource "google_monitoring_alert_policy" "idle_server" {
  display_name          = "Analysis server idle"
  combiner              = "OR"
  notification_channels = local.channels

  conditions {
    display_name = "Processor below 5% for 20 minutes"

    condition_threshold {
      filter          = "metric.type = \"compute.googleapis.com/instance/cpu/utilization\" AND ${local.analysis_server}"
      comparison      = "COMPARISON_LT"
      threshold_value = 0.05
      duration        = "1200s"

      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MEAN"
      }
    }
  }

  documentation {
    content   = format(local.runbook, "idle-server")
    mime_type = "text/markdown"
  }
}

# Nothing failed and nothing finished is the alarm that failing days cannot give.
resource "google_monitoring_alert_policy" "missing_day" {
  display_name          = "No day finished"
  combiner              = "OR"
  notification_channels = local.channels

  conditions {
    display_name = "No finished day in 23.5 hours"

    condition_absent {
      filter   = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.event["finished_day"].name}\" AND resource.type = \"gce_instance\""
      duration = "84600s"

      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content   = format(local.runbook, "missing-day")
    mime_type = "text/markdown"
  }
}
