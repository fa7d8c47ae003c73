package main

// postfixFault is one thing that is wrong, and the finding of it.
type postfixFault struct {
	name   string
	change []string // pairs of texts, of the three files
	level  doctorLevel
	want   []string
}

var filterFaults = []postfixFault{
	{
		"speed_adjust",
		[]string{"  -o smtpd_proxy_timeout=100s", "  -o smtpd_proxy_timeout=100s\n  -o " +
			"smtpd_proxy_options=speed_adjust"},
		levelFault,
		[]string{"smtp/inet: smtpd_proxy_options=speed_adjust", "refuses the whole message"},
	},
	{
		"proxy timeout",
		[]string{"smtpd_proxy_timeout=100s", "smtpd_proxy_timeout=1m"},
		levelFault,
		[]string{"smtpd_proxy_timeout=1m is less than the gate's proxy.reply_limit (100s)"},
	},
	{
		"proxy timeout of main.cf",
		[]string{"  -o smtpd_proxy_timeout=100s\n", "", "myhostname =", "smtpd_proxy_timeout = " +
			"30s\nmyhostname ="},
		levelFault,
		[]string{"smtpd_proxy_timeout=30s is less"},
	},
	{
		"hard errors",
		[]string{"  -o smtpd_hard_error_limit=10000\n", ""},
		levelWarning,
		[]string{"smtpd_hard_error_limit=20", "421"},
	},
	{
		"soft errors",
		[]string{"  -o smtpd_soft_error_limit=1000\n  -o smtpd_hard_error_limit=10000\n  -o " +
			"smtpd_error_sleep_time=0\n", "  -o smtpd_hard_error_limit=10000\n"},
		levelWarning,
		[]string{"smtpd_soft_error_limit=10 and smtpd_error_sleep_time=1s"},
	},
	{
		"some hard errors",
		[]string{"smtpd_hard_error_limit=10000", "smtpd_hard_error_limit=500"},
		levelNote,
		[]string{"smtpd_hard_error_limit=500 is less than proxy.max_recipients (1000)"},
	},
	{
		"XFORWARD",
		[]string{"  -o smtpd_authorized_xforward_hosts=127.0.0.0/8\n", ""},
		levelWarning,
		[]string{"127.0.0.1:10026/inet: smtpd_authorized_xforward_hosts (empty) does not have the gate's " +
			"address, 127.0.0.1"},
	},
	{
		"mynetworks",
		[]string{"  -o mynetworks=127.0.0.0/8", "  -o mynetworks=192.0.2.0/24"},
		levelWarning,
		[]string{"mynetworks (192.0.2.0/24) does not have the gate's address"},
	},
	{
		"loop",
		[]string{"  -o smtpd_proxy_filter=\n", "", "myhostname =", "smtpd_proxy_filter = " +
			"127.0.0.1:10025\nmyhostname ="},
		levelFault,
		[]string{"127.0.0.1:10026/inet takes mail from the gate, and smtpd_proxy_filter=127.0.0.1:10025 " +
			"sends it back"},
	},
	{
		"recipients in front",
		[]string{"myhostname =", "smtpd_recipient_limit = 5000\nmyhostname ="},
		levelNote,
		[]string{"smtpd_recipient_limit=5000 is more than proxy.max_recipients (1000)"},
	},
	{
		"recipients behind",
		[]string{"  -o content_filter=", "  -o smtpd_recipient_limit=100"},
		levelWarning,
		[]string{"smtpd_recipient_limit=100 is less than proxy.max_recipients (1000)", "452"},
	},
	{
		"size in front",
		[]string{"myhostname =", "message_size_limit = 100000000\nmyhostname ="},
		levelWarning,
		[]string{"smtp/inet: message_size_limit=100000000 is more than proxy.max_message_size (50MiB)"},
	},
	{
		"no limit of size in front",
		[]string{"  -o smtpd_proxy_timeout=100s", "  -o smtpd_proxy_timeout=100s\n  -o " +
			"message_size_limit=0"},
		levelWarning,
		[]string{"smtp/inet: message_size_limit=0 is more", `max_message_size = "1GiB"`},
	},
	{
		"size behind",
		[]string{"  -o content_filter=", "  -o message_size_limit=1000000"},
		levelWarning,
		[]string{"127.0.0.1:10026/inet: message_size_limit=1000000 is less than that of smtp/inet, " +
			"10240000"},
	},
	{
		"delay open",
		[]string{"myhostname =", "smtpd_delay_open_until_valid_rcpt = no\nmyhostname ="},
		levelNote,
		[]string{"smtpd_delay_open_until_valid_rcpt=no"},
	},
	{
		"reject_unverified_recipient",
		[]string{"myhostname =", "smtpd_recipient_restrictions = permit_mynetworks, " +
			"reject_unverified_recipient\nmyhostname ="},
		levelWarning,
		[]string{
			"smtp/inet: smtpd_recipient_restrictions has reject_unverified_recipient",
			"asked about twice",
		},
	},
	{
		"processes",
		[]string{"       -       120     smtpd", "       -       50      smtpd"},
		levelWarning,
		[]string{"127.0.0.1:10026/inet may have 50 processes, and those in front of the gate (smtp/inet) " +
			"100"},
	},
	{
		"no filter",
		[]string{"  -o smtpd_proxy_filter=127.0.0.1:10025", "  -o smtpd_proxy_filter=127.0.0.1:10024"},
		levelWarning,
		[]string{"no smtpd service in ", "smtpd_proxy_filter=127.0.0.1:10025"},
	},
	{
		"domains",
		[]string{"mydestination =", "mydestination = gate.example.com, localhost, mail.example.com, " +
			"internal.example.com"},
		levelWarning,
		[]string{"not in verify.internal_domains: mail.example.com"},
	},
	{
		"tables of domains",
		[]string{"relay_domains =", "relay_domains = regexp:/etc/postfix/relay"},
		levelNote,
		[]string{"relay_domains: regexp:/etc/postfix/relay"},
	},
	{
		"misspelt",
		[]string{"myhostname =", "smtpd_proxi_filter = 127.0.0.1:10025\nmyhostname ="},
		levelNote,
		[]string{"postconf says: ", "unused parameter: smtpd_proxi_filter"},
	},
	{
		"TLS listener",
		[]string{
			"\n[relay]", "\ntls_listen = [\"127.0.0.1:10465\"]\ntls_cert_file = \"CERT\"\ntls_key_file = " +
				"\"KEY\"\n[relay]",
			"  -o smtpd_proxy_filter=127.0.0.1:10025", "  -o smtpd_proxy_filter=127.0.0.1:10465",
		},
		levelFault,
		[]string{"smtpd_proxy_filter=127.0.0.1:10465 is where the gate wants TLS at once"},
	},
	{
		"clients",
		[]string{"\n[relay]", "\nclient_networks = [\"192.0.2.0/24\"]\n[relay]"},
		levelFault,
		[]string{"connects from 127.0.0.1, which is not in proxy.client_networks"},
	},
	{
		"not believed",
		[]string{"\n[relay]", "\nxforward_networks = []\n[relay]"},
		levelWarning,
		[]string{"connects from 127.0.0.1, which is not in proxy.xforward_networks"},
	},
	{
		"PROXY protocol",
		[]string{"\n[relay]", "\nproxy_protocol_networks = [\"127.0.0.1\"]\n[relay]"},
		levelFault,
		[]string{"which is in proxy.proxy_protocol_networks"},
	},
	{
		"both doors",
		[]string{
			"\n[relay]", "\n[policyd]\nlisten = [\"127.0.0.1:10040\"]\n[relay]", "myhostname =",
			"smtpd_recipient_restrictions = check_policy_service { inet:localhost:10040, timeout=20s, " +
				"default_action=DUNNO }, permit_mynetworks\nmyhostname =",
		},
		levelNote,
		[]string{"mail passes through the gate (smtp/inet), and its policy service is asked as well " +
			"(smtp/inet)"},
	},
}

var policydFaults = []postfixFault{
	{
		"default_action",
		[]string{
			"timeout=20s, default_action=DUNNO },\n    permit_mynetworks",
			"timeout=20s },\n    permit_mynetworks",
		},
		levelWarning,
		[]string{"the default_action of the policy service is 451 4.3.5", "no mail passes"},
	},
	{
		"no options",
		[]string{
			"{ inet:127.0.0.1:10040, timeout=20s, default_action=DUNNO },\n    permit_mynetworks",
			"inet:127.0.0.1:10040,\n    permit_mynetworks",
		},
		levelNote,
		[]string{"the policy service has 100s to answer"},
	},
	{
		"timeout",
		[]string{
			"timeout=20s, default_action=DUNNO },\n    permit_mynetworks",
			"timeout=5s, default_action=DUNNO },\n    permit_mynetworks",
		},
		levelFault,
		[]string{"the policy service has 5s to answer, verify.rcpt_budget is 8s"},
	},
	{
		"behind a permit",
		[]string{"smtpd_recipient_restrictions =\n", "smtpd_recipient_restrictions =\n    " +
			"permit_sasl_authenticated,\n"},
		levelWarning,
		[]string{"stands behind permit_sasl_authenticated"},
	},
	{
		"no end of data",
		[]string{"smtpd_end_of_data_restrictions =\n", "smtpd_etrn_restrictions =\n"},
		levelNote,
		[]string{"smtpd_end_of_data_restrictions does not have the policy service"},
	},
	{
		"too early",
		[]string{"smtpd_recipient_restrictions =\n", "smtpd_client_restrictions =\n"},
		levelNote,
		[]string{"the policy service is in smtpd_client_restrictions"},
	},
	{
		"connections",
		[]string{"[policyd]\n", "[policyd]\nmax_connections = 50\n"},
		levelWarning,
		[]string{
			"smtp/inet may have 100 processes, and policyd.max_connections is 50",
			"max_connections = 150",
		},
	},
	{
		"reject_unverified_recipient",
		[]string{"    reject_unauth_destination\n", "    reject_unauth_destination, " +
			"reject_unverified_recipient\n"},
		levelWarning,
		[]string{"has reject_unverified_recipient"},
	},
	{
		"nobody asks",
		[]string{"inet:127.0.0.1:10040", "inet:127.0.0.1:10041"},
		levelWarning,
		[]string{"no smtpd service in "},
	},
}
