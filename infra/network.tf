# One network without any external address; what leaves goes through NAT, what comes in through IAP.

resource "google_compute_network" "this" {
  name                    = "mmt-assets"
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

resource "google_compute_subnetwork" "this" {
  name                     = "mmt-assets"
  network                  = google_compute_network.this.id
  region                   = var.region
  ip_cidr_range            = "10.20.0.0/20"
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_router" "this" {
  name    = "mmt-assets"
  network = google_compute_network.this.id
  region  = var.region
}

# The commit comes from the git host and the locked packages from their registry.
resource "google_compute_router_nat" "this" {
  name                               = "mmt-assets"
  router                             = google_compute_router.this.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

# Google's load balancer and its health checks, and IAP's tunnel for ssh; nothing else reaches the host.
resource "google_compute_firewall" "webserver" {
  name          = "mmt-assets-webserver"
  network       = google_compute_network.this.id
  direction     = "INGRESS"
  source_ranges = ["130.211.0.0/22", "35.191.0.0/16"]
  target_tags   = ["dagster-host"]

  allow {
    protocol = "tcp"
    ports    = ["3000", "3001"]
  }
}

resource "google_compute_firewall" "ssh_through_iap" {
  name          = "mmt-assets-ssh-through-iap"
  network       = google_compute_network.this.id
  direction     = "INGRESS"
  source_ranges = ["35.235.240.0/20"]
  target_tags   = ["dagster-host"]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_global_address" "private_services" {
  name          = "mmt-assets-private-services"
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "private_services" {
  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.private_services.name]
}
