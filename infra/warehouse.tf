# A dataset for each stage, so that access is granted for each stage. The code location makes the tables
# from their contracts; deleting a dataset that holds tables fails.

locals {
  stages = {
    raw        = "What the source said, day by day; rejected rows with their reasons."
    features   = "Sales and demand for each day."
    forecasts  = "Forecasts, outlook, accuracy."
    operations = "Fences, the ledger of analysis servers."
    staging    = "Rows on their way into a table; they expire after a day."
  }
}

resource "google_bigquery_dataset" "stage" {
  for_each = local.stages

  dataset_id                  = each.key
  description                 = each.value
  location                    = var.dataset_location
  delete_contents_on_destroy  = false
  default_table_expiration_ms = each.key == "staging" ? 24 * 3600 * 1000 : null
  max_time_travel_hours       = each.key == "staging" ? 48 : 168

  depends_on = [google_project_service.api]
}

locals {
  source_project = split(".", var.source_dataset)[0]
  source_dataset = split(".", var.source_dataset)[1]

  # Who may do what in each stage. The analysis server reads what the forecast needs and writes forecasts.
  dataset_access = merge(
    { for stage in keys(local.stages) : "orchestrator-${stage}" => {
      dataset = stage, role = "roles/bigquery.dataEditor", member = google_service_account.orchestrator.member
    } },
    { for stage in ["raw", "features"] : "analysis-${stage}" => {
      dataset = stage, role = "roles/bigquery.dataViewer", member = google_service_account.analysis.member
    } },
    { for stage in ["forecasts", "operations", "staging"] : "analysis-${stage}" => {
      dataset = stage, role = "roles/bigquery.dataEditor", member = google_service_account.analysis.member
    } },
    { for pair in setproduct(["features", "forecasts"], setunion(var.viewers, var.editors)) :
      "viewer-${pair[0]}-${pair[1]}" => {
        dataset = pair[0], role = "roles/bigquery.dataViewer", member = pair[1]
    } },
  )
}

resource "google_bigquery_dataset_iam_member" "stage" {
  for_each = local.dataset_access

  dataset_id = google_bigquery_dataset.stage[each.value.dataset].dataset_id
  role       = each.value.role
  member     = each.value.member
}

resource "google_bigquery_dataset_iam_member" "source" {
  project    = local.source_project
  dataset_id = local.source_dataset
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.orchestrator.member
}
