/* Checks of single values that tables name. Each returns NULL, or what is wrong, as a constant. */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

/* Where to listen: "127.0.0.1:80", "[::1]:80", ":80", "unix:/path": numbers only. */
const char *setting_listen(const char *text);
/* The same, but only this machine may reach it. */
const char *setting_listen_local(const char *text);
/* The same, but no UNIX socket. */
const char *setting_listen_tcp(const char *text);
/* "unix:/path". */
const char *setting_unix(const char *text);
/* Where to dial: "host:port" by name or number. */
const char *setting_host_port(const char *text);
/* redis://[:password@]address:port[/db], or unix:[:password@]/path[?db=n]: numbers only. */
const char *setting_redis_url(const char *text);
const char *setting_redis_user(const char *text);
const char *setting_redis_tls_name(const char *text);
/* http:// on this machine, or unix:/path. */
const char *setting_engine_url(const char *text);
/* A gateway as clients reach it: http:// or https://, or unix:/path. */
const char *setting_gateway_url(const char *text);
/* A service to fetch from: http:// or https://. */
const char *setting_service_url(const char *text);
/* none, pow2, 64. */
const char *setting_padding(const char *text);
/* 64 hex digits. */
const char *setting_pin(const char *text);
/* The same, or nothing. */
const char *setting_verity(const char *text);
/* A raw TON address: workchain 0 or -1, ':', 64 hex digits. */
const char *setting_payout(const char *text);
/* Hours of one day: "always", "" (never), or "HH:MM-HH:MM,…" up to 24:00. */
const char *setting_hours(const char *text);
const char *setting_log_level(const char *text);
const char *setting_engine_kind(const char *text);
/* "none", "tsm", "socket:/path". */
const char *setting_quote_provider(const char *text);
const char *setting_gpu(const char *text);
const char *setting_endpoint(const char *text);
/* An address without port, a CIDR range, or "unix". */
const char *setting_proxy(const char *text);
/* "*", or scheme://host[:port]. */
const char *setting_origin(const char *text);
/* 1 … 64 letters, digits, '.', '_', '-'. */
const char *setting_label(const char *text);
/* 1 … 64 letters, digits, '.', '_', '-': a member of requests; with '*' behind, all whose names
 * begin so. */
const char *setting_extra(const char *text);
/* The same, but none that stands for a member that requests cannot do without. */
const char *setting_denied(const char *text);
/* An absolute path, or postgresql://… */
const char *setting_books(const char *text);
/* viewer, support, treasurer, admin. */
const char *setting_role(const char *text);
/* interactive, batch, internal. */
const char *setting_class(const char *text);
/* "DNS:name" in small letters, no wildcard, or "URI:…": a name in a certificate. */
const char *setting_san(const char *text);
/* 1 … 256 visible characters: the name of a model. */
const char *setting_model(const char *text);

#endif
