variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "region" {
  description = "Region of the host, the analysis server, buckets and the database."
  type        = string
  default     = "asia-northeast3"
}

variable "zones" {
  description = "Zones in which the analysis server may start, in order of preference; MMT_ZONES of the code location."
  type        = list(string)
  default     = ["asia-northeast3-a", "asia-northeast3-b", "asia-northeast3-c"]

  validation {
    condition     = length(var.zones) > 0
    error_message = "Name at least one zone."
  }
}

variable "dataset_location" {
  description = "Location of the BigQuery datasets; it must be that of the source dataset."
  type        = string
  default     = "asia-northeast3"
}

variable "source_dataset" {
  description = "Dataset of the platform's concerts, orders and makes, as project.dataset; read only."
  type        = string

  validation {
    condition     = length(split(".", var.source_dataset)) == 2
    error_message = "Write project.dataset."
  }
}

variable "domain" {
  description = "Host name of Dagster's UI; viewers.<domain> shows it read-only. Both point to the address in the outputs."
  type        = string
}

variable "editors" {
  description = "Who may start runs: IAM members such as group:data-engineers@example.com."
  type        = set(string)
}

variable "viewers" {
  description = "Who may look: IAM members."
  type        = set(string)
  default     = []
}

variable "alert_emails" {
  description = "Addresses that get alerts."
  type        = set(string)

  validation {
    condition     = length(var.alert_emails) > 0
    error_message = "An alert that nobody gets is none: name at least one address."
  }
}

variable "billing_account" {
  description = "Billing account that pays for the project, for the budget."
  type        = string
}

variable "monthly_budget" {
  description = "Budget of a month, in the billing account's currency; warnings at 50, 90 and 100%."
  type        = number
  default     = 150
}

variable "git_url" {
  description = "Repository that the host and the analysis server check out, by https and without credentials."
  type        = string
}

variable "git_ref" {
  description = "Full SHA of the commit that the host runs."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{40}$", var.git_ref))
    error_message = "A full commit SHA pins the code; a branch or tag can move."
  }
}

variable "time_zone" {
  description = "Business time zone; MMT_TIMEZONE of the code location."
  type        = string
  default     = "Asia/Seoul"
}

variable "first_day" {
  description = "First business day of the history, YYYY-MM-DD; MMT_FIRST_DAY of the code location. Do not change it."
  type        = string

  validation {
    condition     = can(regex("^\\d{4}-\\d{2}-\\d{2}$", var.first_day))
    error_message = "Write YYYY-MM-DD."
  }
}

variable "daily_at" {
  description = "Hour and minute of the daily request, in the business time zone."
  type        = object({ hour = number, minute = number })
  default     = { hour = 6, minute = 0 }
}

variable "host_machine_type" {
  description = "Machine of webserver, daemon and code server."
  type        = string
  default     = "e2-standard-2"
}

variable "analysis_machine_type" {
  description = "Machine of the analysis server."
  type        = string
  default     = "n2-standard-8"
}

variable "analysis_max_seconds" {
  description = "Longest life of an analysis server; Compute Engine itself ends it then."
  type        = number
  default     = 7200
}

variable "database_tier" {
  description = "Machine of Dagster's PostgreSQL."
  type        = string
  default     = "db-custom-1-3840"
}

variable "log_retention_days" {
  description = "How long the product's logs are kept."
  type        = number
  default     = 90
}
