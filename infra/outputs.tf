output "address" {
  description = "Point the domain and viewers.<domain> here."
  value       = google_compute_global_address.front_door.address
}

output "instance_template" {
  description = "Instance template of the analysis server; MMT_VM_TEMPLATE of the code location names it."
  value       = google_compute_region_instance_template.analysis.name
}

output "host_settings" {
  description = "Settings of the code location on the host, without secrets."
  value       = local.host_settings
}
