# Three identities. The orchestrator starts analysis servers and cannot be one; the analysis server can write
# forecasts and cannot touch a machine; the reaper can only end machines.

resource "google_service_account" "orchestrator" {
  account_id   = "mmt-orchestrator"
  display_name = "Dagster's host"
}

resource "google_service_account" "analysis" {
  account_id   = "mmt-analysis-server"
  display_name = "The analysis server"
}

resource "google_service_account" "reaper" {
  account_id   = "mmt-reaper"
  display_name = "Ends analysis servers whose run is over"
}

resource "google_project_iam_custom_role" "start_servers" {
  role_id     = "mmtStartAnalysisServers"
  title       = "Start analysis servers"
  description = "Create from a template, watch and label; nothing that ends another's machine."
  permissions = [
    "compute.disks.create",
    "compute.disks.setLabels",
    "compute.images.useReadOnly",
    "compute.instanceTemplates.get",
    "compute.instanceTemplates.useReadOnly",
    "compute.instances.create",
    "compute.instances.get",
    "compute.instances.getGuestAttributes",
    "compute.instances.getSerialPortOutput",
    "compute.instances.list",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.instances.setScheduling",
    "compute.instances.setServiceAccount",
    "compute.instances.setTags",
    "compute.instances.start",
    "compute.subnetworks.use",
    "compute.zoneOperations.get",
    "compute.zones.get",
    "compute.zones.list",
  ]
}

resource "google_project_iam_custom_role" "end_servers" {
  role_id     = "mmtEndAnalysisServers"
  title       = "End analysis servers"
  description = "Look, stop and delete."
  permissions = [
    "compute.disks.delete",
    "compute.instances.delete",
    "compute.instances.get",
    "compute.instances.list",
    "compute.instances.stop",
    "compute.zoneOperations.get",
  ]
}

# Only machines and disks whose name says that they are ours; list, which has no one resource, is allowed beside.
locals {
  only_ours = {
    title      = "analysis servers only"
    expression = <<-CEL
      (resource.type != "compute.googleapis.com/Instance" && resource.type != "compute.googleapis.com/Disk")
      || resource.name.extract("instances/{name}").startsWith("mmt-")
      || resource.name.extract("disks/{name}").startsWith("mmt-")
    CEL
  }
}

resource "google_project_iam_member" "orchestrator_starts_servers" {
  project = var.project
  role    = google_project_iam_custom_role.start_servers.id
  member  = google_service_account.orchestrator.member

  condition {
    title      = local.only_ours.title
    expression = local.only_ours.expression
  }
}

resource "google_project_iam_member" "ends_servers" {
  for_each = {
    # The run that started a server ends it; the reaper ends those whose run cannot.
    orchestrator = google_service_account.orchestrator.member
    reaper       = google_service_account.reaper.member
  }

  project = var.project
  role    = google_project_iam_custom_role.end_servers.id
  member  = each.value

  condition {
    title      = local.only_ours.title
    expression = local.only_ours.expression
  }
}

# To start a server with the analysis identity, and for the reaper's sensor to act as the reaper.
resource "google_service_account_iam_member" "orchestrator_gives_servers_their_identity" {
  service_account_id = google_service_account.analysis.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.orchestrator.member
}

resource "google_service_account_iam_member" "orchestrator_acts_as_reaper" {
  service_account_id = google_service_account.reaper.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.orchestrator.member
}

locals {
  project_roles = merge(
    { for role in ["bigquery.jobUser", "bigquery.readSessionUser", "logging.logWriter", "monitoring.metricWriter", "monitoring.viewer", "cloudsql.client"] :
    "orchestrator-${role}" => { role = "roles/${role}", member = google_service_account.orchestrator.member } },
    { for role in ["bigquery.jobUser", "bigquery.readSessionUser", "logging.logWriter", "monitoring.metricWriter"] :
    "analysis-${role}" => { role = "roles/${role}", member = google_service_account.analysis.member } },
  )
}

resource "google_project_iam_member" "role" {
  for_each = local.project_roles

  project = var.project
  role    = each.value.role
  member  = each.value.member
}

resource "google_storage_bucket_iam_member" "pipes" {
  for_each = {
    orchestrator = google_service_account.orchestrator.member
    analysis     = google_service_account.analysis.member
  }

  bucket = google_storage_bucket.pipes.name
  role   = "roles/storage.objectUser"
  member = each.value
}

resource "google_storage_bucket_iam_member" "logs" {
  bucket = google_storage_bucket.logs.name
  role   = "roles/storage.objectUser"
  member = google_service_account.orchestrator.member
}
