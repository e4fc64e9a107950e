# What an analysis server is made from. Name, labels, metadata of the run and the zone come with each start.

resource "google_compute_region_instance_template" "analysis" {
  name_prefix  = "mmt-analysis-"
  region       = var.region
  machine_type = var.analysis_machine_type

  labels = {
    role = "analysis"
  }

  disk {
    source_image = "projects/debian-cloud/global/images/family/debian-12"
    auto_delete  = true
    boot         = true
    disk_size_gb = 30
    disk_type    = "pd-balanced"
  }

  network_interface {
    # No access_config: no external address.
    subnetwork = google_compute_subnetwork.this.id
  }

  service_account {
    email = google_service_account.analysis.email
    # What it may do is said by IAM alone; scopes are the older, coarser fence in front of it.
    scopes = [
      "https://www.googleapis.com/auth/bigquery",
      "https://www.googleapis.com/auth/devstorage.read_write",
      "https://www.googleapis.com/auth/logging.write",
      "https://www.googleapis.com/auth/monitoring.write",
      "https://www.googleapis.com/auth/pubsub",
    ]
  }

  scheduling {
    automatic_restart           = false
    on_host_maintenance         = "TERMINATE"
    instance_termination_action = "DELETE"

    # The last of the layers that keep a machine from running on.
    max_run_duration {
      seconds = var.analysis_max_seconds
    }
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  metadata = {
    enable-guest-attributes    = "TRUE"
    serial-port-logging-enable = "TRUE"
    block-project-ssh-keys     = "TRUE"
    enable-oslogin             = "TRUE"
    enable-ops-agent           = "TRUE"
    startup-script             = file("${path.module}/../mmt_assets/gcp/startup.sh")
  }

  lifecycle {
    create_before_destroy = true
  }
}
