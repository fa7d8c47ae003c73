package main

import "strings"

// inPostfix names the parameters, or restrictions, of Postfix that do what a key does, or what
// comes nearest. Where the gate stands between two smtpd services, it is mostly the same setting
// seen from the other side. Keys without a counterpart are left out. See postconf(5).
func inPostfix(key string) []string {
	//nolint:gosec // a name with "password" in it is no password
	return strings.Fields(map[string]string{
		"proxy.listen":                  "smtpd_proxy_filter",
		"proxy.tls_listen":              "smtpd_tls_wrappermode",
		"proxy.hostname":                "myhostname",
		"proxy.client_networks":         "mynetworks",
		"proxy.xforward_networks":       "smtpd_authorized_xforward_hosts",
		"proxy.proxy_protocol_networks": "smtpd_upstream_proxy_protocol",
		"proxy.tls_cert_file":           "smtpd_tls_cert_file",
		"proxy.tls_key_file":            "smtpd_tls_key_file",
		"proxy.auth":                    "smtpd_sasl_auth_enable",
		"proxy.auth_without_tls":        "smtpd_tls_auth_only",
		"proxy.client_timeout":          "smtpd_timeout",
		"proxy.reply_limit":             "smtpd_proxy_timeout",
		"proxy.max_message_size":        "message_size_limit",
		"proxy.max_recipients":          "smtpd_recipient_limit",
		"proxy.max_connections":         "default_process_limit",
		"proxy.max_client_connections":  "smtpd_client_connection_count_limit",
		"proxy.min_data_rate":           "smtpd_min_data_rate",
		"proxy.bare_newline":            "smtpd_forbid_bare_newline",
		"proxy.soft_error_limit":        "smtpd_soft_error_limit",
		"proxy.hard_error_limit":        "smtpd_hard_error_limit",
		"proxy.error_delay":             "smtpd_error_sleep_time",

		"relay.upstreams":         "relayhost",
		"relay.upstream":          "smtp_fallback_relay",
		"relay.data_done_timeout": "smtp_data_done_timeout",
		"relay.idle_timeout":      "smtp_connection_cache_time_limit",
		"relay.tls":               "smtp_tls_security_level",
		"relay.tls_wrappermode":   "smtp_tls_wrappermode",
		"relay.tls_ca_file":       "smtp_tls_CAfile",
		"relay.tls_server_name":   "smtp_tls_secure_cert_match",
		"relay.password_file":     "smtp_sasl_password_maps",

		"verify.rcpt_budget": "address_verify_poll_count address_verify_poll_delay",
		"verify.internal_domains": "mydestination relay_domains virtual_alias_domains " +
			"virtual_mailbox_domains transport_maps",
		"verify.probe_sender":         "address_verify_sender",
		"verify.fallback_sender":      "address_verify_sender",
		"verify.helo":                 "smtp_helo_name",
		"verify.bind_addresses":       "smtp_bind_address smtp_bind_address6",
		"verify.connect_timeout":      "smtp_connect_timeout",
		"verify.command_timeout":      "smtp_rcpt_timeout",
		"verify.max_probes_per_host":  "smtp_destination_concurrency_limit",
		"verify.recipients_per_probe": "smtp_destination_recipient_limit",
		"verify.max_questions":        "address_verify_pending_request_limit",

		"verify.cache.path":                  "address_verify_map",
		"verify.cache.positive_expire_time":  "address_verify_positive_expire_time",
		"verify.cache.positive_refresh_time": "address_verify_positive_refresh_time",
		"verify.cache.negative_expire_time":  "address_verify_negative_expire_time",
		"verify.cache.negative_refresh_time": "address_verify_negative_refresh_time",

		"policy.mode":   "warn_if_reject",
		"policy.rules":  "smtpd_recipient_restrictions",
		"policy.limits": "smtpd_client_recipient_rate_limit smtpd_client_message_rate_limit",

		"policyd.listen":    "check_policy_service",
		"policyd.timeout":   "smtpd_policy_service_max_idle",
		"policyd.malformed": "smtpd_policy_service_default_action",
	}[key])
}
