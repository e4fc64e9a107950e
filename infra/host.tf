# One small machine for webserver, read-only webserver, daemon and code server. It keeps nothing: history is in
# PostgreSQL, logs and pages in buckets, secrets in Secret Manager. Replacing it loses no data.

resource "google_compute_instance" "host" {
  name         = "dagster-host"
  zone         = var.zones[0]
  machine_type = var.host_machine_type
  tags         = ["dagster-host"]

  allow_stopping_for_update = true

  boot_disk {
    initialize_params {
      image = "projects/debian-cloud/global/images/family/debian-12"
      size  = 30
      type  = "pd-balanced"
    }
  }

  network_interface {
    # No access_config: no external address.
    subnetwork = google_compute_subnetwork.this.id
  }

  service_account {
    email = google_service_account.orchestrator.email
    # What it may do is said by IAM alone.
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  metadata = {
    block-project-ssh-keys = "TRUE"
    enable-oslogin         = "TRUE"
    git-url                = var.git_url
    git-ref                = var.git_ref
    startup-script         = file("${path.module}/host/startup.sh")
    dagster-yaml           = file("${path.module}/host/dagster.yaml")
    workspace-yaml         = file("${path.module}/host/workspace.yaml")
    settings = join("\n", concat([
      for name, value in local.host_settings : "${name}=${value}"
    ], [""]))
  }
}

locals {
  # What the code location reads; secrets are added on the host from Secret Manager.
  host_settings = {
    MMT_ENV               = "gcp"
    MMT_PROJECT           = var.project
    MMT_SOURCE            = "bigquery:${var.source_dataset}"
    MMT_TIMEZONE          = var.time_zone
    MMT_DAILY_AT          = format("%02d:%02d", var.daily_at.hour, var.daily_at.minute)
    MMT_FIRST_DAY         = var.first_day
    MMT_DAGSTER_URL       = "https://${var.domain}"
    MMT_ZONES             = join(",", var.zones)
    MMT_VM_TEMPLATE       = "regions/${var.region}/instanceTemplates/${google_compute_region_instance_template.analysis.name}"
    MMT_VM_MAX_SECONDS    = tostring(var.analysis_max_seconds)
    MMT_GIT_URL           = var.git_url
    MMT_GIT_REF           = var.git_ref
    DAGSTER_POSTGRES_HOST = google_sql_database_instance.dagster.private_ip_address
    DAGSTER_LOGS_BUCKET   = google_storage_bucket.logs.name
  }
}
