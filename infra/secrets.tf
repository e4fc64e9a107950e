# Raise `secrets_version` to rotate the database's password. The key of the fans' hash has its own procedure
# (docs/security.md), because a new key makes every fan a new one.

variable "secrets_version" {
  description = "Version of the generated database password."
  type        = number
  default     = 1
}

resource "google_secret_manager_secret" "database_password" {
  secret_id = "mmt-dagster-database-password"

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "database_password" {
  secret                 = google_secret_manager_secret.database_password.id
  secret_data_wo         = ephemeral.random_password.dagster.result
  secret_data_wo_version = var.secrets_version
}

# Its value is added by hand, once: docs/deployment.md.
resource "google_secret_manager_secret" "fan_hash_key" {
  secret_id = "mmt-fan-hash-key"

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}

# Channels of the notifications, which hold tokens. Without a version there are none: docs/operations.md.
resource "google_secret_manager_secret" "notify_urls" {
  secret_id = "mmt-notify-urls"

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_iam_member" "orchestrator" {
  for_each = {
    database_password = google_secret_manager_secret.database_password.id
    fan_hash_key      = google_secret_manager_secret.fan_hash_key.id
    notify_urls       = google_secret_manager_secret.notify_urls.id
  }

  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.orchestrator.member
}
