# The webserver has no authentication of its own. Identity-Aware Proxy asks every browser who it is; editors get the
# webserver that starts runs, viewers one that cannot.

resource "google_compute_global_address" "front_door" {
  name = "mmt-assets"
}

resource "google_compute_managed_ssl_certificate" "front_door" {
  name = "mmt-assets"

  managed {
    domains = [var.domain, "viewers.${var.domain}"]
  }
}

resource "google_compute_instance_group" "host" {
  name      = "dagster-host"
  zone      = google_compute_instance.host.zone
  instances = [google_compute_instance.host.self_link]

  named_port {
    name = "editors"
    port = 3000
  }
  named_port {
    name = "viewers"
    port = 3001
  }
}

resource "google_compute_health_check" "webserver" {
  for_each = { editors = 3000, viewers = 3001 }

  name = "mmt-assets-${each.key}"

  http_health_check {
    port         = each.value
    request_path = "/server_info"
  }
}

resource "google_compute_backend_service" "webserver" {
  for_each = google_compute_health_check.webserver

  name                  = "mmt-assets-${each.key}"
  protocol              = "HTTP"
  port_name             = each.key
  load_balancing_scheme = "EXTERNAL_MANAGED"
  timeout_sec           = 3600 # the UI's subscriptions are long requests
  health_checks         = [each.value.id]

  backend {
    group = google_compute_instance_group.host.self_link
  }

  iap {
    enabled = true
  }

  log_config {
    enable = true
  }
}

resource "google_iap_web_backend_service_iam_member" "may_open" {
  for_each = merge(
    { for member in var.editors : "editors-${member}" => { backend = "editors", member = member } },
    { for member in setunion(var.editors, var.viewers) : "viewers-${member}" => { backend = "viewers", member = member } },
  )

  web_backend_service = google_compute_backend_service.webserver[each.value.backend].name
  role                = "roles/iap.httpsResourceAccessor"
  member              = each.value.member
}

resource "google_compute_url_map" "front_door" {
  name            = "mmt-assets"
  default_service = google_compute_backend_service.webserver["viewers"].id

  host_rule {
    hosts        = [var.domain]
    path_matcher = "editors"
  }

  path_matcher {
    name            = "editors"
    default_service = google_compute_backend_service.webserver["editors"].id
  }
}

resource "google_compute_ssl_policy" "modern" {
  name            = "mmt-assets"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_target_https_proxy" "front_door" {
  name             = "mmt-assets"
  url_map          = google_compute_url_map.front_door.id
  ssl_certificates = [google_compute_managed_ssl_certificate.front_door.id]
  ssl_policy       = google_compute_ssl_policy.modern.id
}

resource "google_compute_global_forwarding_rule" "front_door" {
  name                  = "mmt-assets"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.front_door.id
  port_range            = "443"
  target                = google_compute_target_https_proxy.front_door.id
}
