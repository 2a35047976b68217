/* Where Redis is and who we are there: what settings, tools and the client of lib/net share. */
#ifndef BASE_REDIS_URL_H
#define BASE_REDIS_URL_H

#include "base/span.h"

enum {
    REDIS_URL_MAX = 1024, /* with its NUL */
    REDIS_PLACES_MAX = 16,
    REDIS_PLACE_LEN = 264, /* "host:port" or "unix:/path", with its NUL */
    REDIS_LOGIN_LEN = 512  /* a user's name or a password, with its NUL */
};

/* Texts that live as long as they are used; NULL and "" are the same. */
struct redis_access {
    const char *url; /* see redis_url_parse */
    /* To the servers, and to Sentinels; a file (0600) holds the password in its first line. A
     * password may stand in the URL or in the file, not in both. */
    const char *user, *password_file;
    const char *sentinel_user, *sentinel_password_file;
    /* PEM files for rediss…: whom to trust ("": the system's CAs), and our own certificate; the
     * name that servers' certificates carry ("": the host or address that was dialled). */
    const char *ca_file, *cert_file, *key_file, *tls_name;
    bool durable; /* refuse a server that may evict keys or keeps no AOF */
};

enum redis_kind { REDIS_ALONE, REDIS_SENTINEL, REDIS_CLUSTER };

struct redis_url {
    enum redis_kind kind;
    bool tls;
    char places[REDIS_PLACES_MAX][REDIS_PLACE_LEN]; /* of the server, Sentinels, or some nodes */
    size_t place_count;
    char master[128]; /* Sentinel's name of the primary */
    char db[8];       /* "" for 0 */
    char user[REDIS_LOGIN_LEN], password[REDIS_LOGIN_LEN];
};

/* Reads one of
 *   redis://[LOGIN]host:port[/db]                     unix:[LOGIN]/path[?db=n]
 *   redis+sentinel://[LOGIN]host:port,…/primary[/db]  redis+cluster://[LOGIN]host:port,…
 * where rediss in place of redis means TLS and LOGIN is "[user]:password@"; the password stands as
 * it is, up to the last '@'. host is a name, a number or [v6]. E_INVALID. Wipe `out` after use. */
MUST_CHECK int redis_url_parse(struct redis_url *out, const char *text);
/* host:port with a host as above and a port above 0; "v6:port" without brackets, as Redis writes
 * it, gets them. E_INVALID. */
MUST_CHECK int redis_place_read(struct span text, char out[static REDIS_PLACE_LEN]);

#endif
