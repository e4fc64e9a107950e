# Everything durable that production needs. What lives for one run (the analysis server) is made by the code location.

terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
    random = {
      source  = "hashicorp/random"
      version = "~> 3.7"
    }
  }

  # The bucket is made by hand, once: docs/deployment.md. `terraform init -backend-config=bucket=...` names it.
  backend "gcs" {
    prefix = "mmt-assets"
  }
}

provider "google" {
  project = var.project
  region  = var.region

  # Budgets are billed to the project that asks, not to the one of the command line tool.
  user_project_override = true
  billing_project       = var.project

  default_labels = {
    managed-by = "terraform"
    product    = "mmt-assets"
  }
}

data "google_project" "this" {
  project_id = var.project
}
