# A plain Postfix as the relay behind the gate, for compose.yaml: it takes mail from the gate's network
# alone, and delivers it to the recipients' mail servers.
FROM debian:bookworm-slim
RUN apt-get update \
 && printf 'postfix postfix/main_mailer_type select No configuration\n' | debconf-set-selections \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postfix ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && cp /usr/share/postfix/main.cf.debian /etc/postfix/main.cf \
 && postconf -M -X smtp/inet \
 && postconf -M '10026/inet=10026 inet n - n - - smtpd' \
 && postconf -F '*/*/chroot=n' \
 && postconf -e maillog_file=/dev/stdout mydestination= inet_interfaces=all \
      'smtpd_relay_restrictions=permit_mynetworks, reject' 'smtp_tls_security_level=may' \
      'smtp_tls_CApath=/etc/ssl/certs'
EXPOSE 10026
VOLUME /var/spool/postfix
# MAIL_NETWORKS are those of the gate, which may also say for whom it sends (XFORWARD).
CMD ["/bin/sh", "-c", "postconf -e myhostname=\"$MAIL_HOSTNAME\" mynetworks=\"$MAIL_NETWORKS\" smtpd_authorized_xforward_hosts=\"$MAIL_NETWORKS\" && exec postfix start-fg"]
