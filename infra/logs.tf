# Logs are JSON lines with the run's id as a label, from the host and from analysis servers alike.

resource "google_logging_project_bucket_config" "product" {
  project        = var.project
  location       = var.region
  bucket_id      = "mmt-assets"
  retention_days = var.log_retention_days
  description    = "Logs of Dagster's host and of analysis servers."

  depends_on = [google_project_service.api]
}

resource "google_logging_project_sink" "product" {
  name                   = "mmt-assets"
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.product.id}"
  filter                 = "resource.type=\"gce_instance\" AND labels.product=\"mmt-assets\""
  unique_writer_identity = true
}

locals {
  # Each counts log lines by the field `event` that the code location writes.
  counted_events = {
    failed_day       = "day_failed"
    finished_day     = "day_finished"
    leaked_server    = "vm_reaped"
    rejected_request = "request_rejected"
  }
}

resource "google_logging_metric" "event" {
  for_each = local.counted_events

  name        = "mmt/${each.key}"
  description = "Lines with event=${each.value}."
  filter      = "labels.product=\"mmt-assets\" AND jsonPayload.event=\"${each.value}\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }
}
