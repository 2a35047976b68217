/* TLS, certificates and logins against a real redis-server. */
#include "redis_fleet.h"

/* A certificate that is its own CA, with these subject alternative names. */
static void make_cert(struct fleet *f, const char *name, const char *san)
{
    char command[512];

    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
             "-subj /CN=%s -addext subjectAltName=%s -keyout %s/%s.key -out %s/%s.pem 2>/dev/null",
             name, san, f->dir, name, f->dir, name);
    assert_int_equal(system(command), 0);
}

static void start_tls(struct fleet *f, const char *san, const char *auth_clients)
{
    make_cert(f, "server", san);
    make_cert(f, "client", "DNS:client");
    fleet_start(f, 0, "--port", "0", "--tls-port", "PORT", "--tls-cert-file",
                fleet_file(f, "server.pem", NULL), "--tls-key-file",
                fleet_file(f, "server.key", NULL), "--tls-ca-cert-file",
                fleet_file(f, "client.pem", NULL), "--tls-auth-clients", auth_clients,
                "--requirepass", "p@ss:w", NULL);
}

static struct redis_access access_of(struct fleet *f, const char *host)
{
    static char url[64];

    snprintf(url, sizeof(url), "rediss://%s:%d", host, f->ports[0]);
    return (struct redis_access){.url = url,
                                 .ca_file = fleet_file(f, "server.pem", NULL),
                                 .password_file = fleet_file(f, "password", "p@ss:w\n")};
}

static void on_message(void *arg, struct span channel, struct span payload)
{
    (void)channel;
    (void)payload;
    ++*(int *)arg;
}

static void a_server_with_both_certificates_and_a_password_is_used(void **state)
{
    struct fleet *f = *state;
    struct world *w = &f->w;
    struct told set = {0}, len = {0}, get = {0}, told = {0};
    struct buf value = {0};
    int heard = 0;

    start_tls(f, "IP:127.0.0.1", "yes");
    struct redis_access at = access_of(f, "127.0.0.1");
    at.cert_file = fleet_file(f, "client.pem", NULL);
    at.key_file = fleet_file(f, "client.key", NULL);
    fleet_client(f, &at, 2000, 5000);
    WAIT_FOR(w, redis_up(w->redis));
    for (int i = 0; i < 3000000; i++)
        buf_byte(&value, (uint8_t)i);
    struct span span = buf_span(&value);
    assert_int_equal(redis_commandf(w->redis, on_reply, &set, "SET big %b", &span), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &get, "GET big"), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &len, "STRLEN big"), 0);
    buf_fini(&value);
    WAIT_FOR(w, len.calls == 1);
    assert_int_equal(len.number, 3000000);
    assert_int_equal(get.type, REDIS_BULK);

    assert_int_equal(redis_subscribe(w->redis, "news", on_message, &heard), 0);
    WAIT_FOR(w, redis_subscribed(w->redis));
    assert_int_equal(redis_commandf(w->redis, on_reply, &told, "PUBLISH news x"), 0);
    WAIT_FOR(w, heard == 1);
}

static void without_our_certificate_such_a_server_is_away(void **state)
{
    struct fleet *f = *state;

    start_tls(f, "IP:127.0.0.1", "yes");
    struct redis_access at = access_of(f, "127.0.0.1");
    fleet_client(f, &at, 2000, 5000);
    run_for(&f->w, 500);
    assert_int_equal(f->w.ups, 0);
}

static void a_certificate_of_another_authority_is_refused(void **state)
{
    struct fleet *f = *state;

    start_tls(f, "IP:127.0.0.1", "no");
    struct redis_access at = access_of(f, "127.0.0.1");
    at.ca_file = fleet_file(f, "client.pem", NULL);
    fleet_client(f, &at, 2000, 5000);
    run_for(&f->w, 500);
    assert_int_equal(f->w.ups, 0);
    at.ca_file = fleet_file(f, "server.pem", NULL);
    fleet_client(f, &at, 2000, 5000);
    WAIT_FOR(&f->w, redis_up(f->w.redis));
}

static void a_certificate_must_carry_what_was_dialled_or_the_name_that_was_set(void **state)
{
    struct fleet *f = *state;

    start_tls(f, "DNS:redis.test,DNS:localhost", "no");
    struct redis_access at = access_of(f, "127.0.0.1");
    fleet_client(f, &at, 2000, 5000);
    run_for(&f->w, 500);
    assert_int_equal(f->w.ups, 0);
    at.tls_name = "other.test";
    fleet_client(f, &at, 2000, 5000);
    run_for(&f->w, 300);
    assert_int_equal(f->w.ups, 0);
    at.tls_name = "redis.test";
    fleet_client(f, &at, 2000, 5000);
    WAIT_FOR(&f->w, redis_up(f->w.redis));
    at = access_of(f, "localhost"); /* a name, looked up off the loop; the server has IPv4 only */
    fleet_client(f, &at, 2000, 5000);
    WAIT_FOR(&f->w, f->w.ups == 2);
}

static void a_server_without_tls_is_none(void **state)
{
    struct fleet *f = *state;

    make_cert(f, "server", "IP:127.0.0.1");
    fleet_start(f, 0, "--port", "PORT", NULL);
    fleet_await(f, 0);
    struct redis_access at = access_of(f, "127.0.0.1");
    fleet_client(f, &at, 200, 300);
    run_for(&f->w, 700);
    assert_int_equal(f->w.ups, 0);
}

static void a_user_signs_in_and_a_new_password_is_read_from_its_file(void **state)
{
    struct fleet *f = *state;
    struct world *w = &f->w;
    struct told who = {0};
    char url[64];

    fleet_start(f, 0, "--port", "PORT", NULL);
    fleet_await(f, 0);
    fleet_order(f, 0, "ACL SETUSER gateway on >old ~* &* +@all");
    fleet_order(f, 0, "ACL SETUSER default off");
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", f->ports[0]);
    struct redis_access at = {
        .url = url, .user = "gateway", .password_file = fleet_file(f, "password", "old\n")};
    fleet_client(f, &at, 2000, 5000);
    WAIT_FOR(w, redis_up(w->redis));
    assert_int_equal(redis_commandf(w->redis, on_reply, &who, "ACL WHOAMI"), 0);
    expect_text(w, &who, "gateway");

    fleet_file(f, "password", "new\n");
    struct told change = {0};
    assert_int_equal(
        redis_commandf(w->redis, on_reply, &change, "ACL SETUSER gateway resetpass >new"), 0);
    expect_text(w, &change, "OK");
    assert_int_equal(redis_commandf(w->redis, NULL, NULL, "CLIENT KILL TYPE normal SKIPME no"), 0);
    WAIT_FOR(w, w->downs == 1);
    WAIT_FOR(w, w->ups == 2);
}

static void a_server_that_may_lose_keys_is_refused_where_that_matters(void **state)
{
    struct fleet *f = *state;
    struct redis_stats stats;
    char url[64];

    fleet_start(f, 0, "--port", "PORT", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes",
                NULL);
    fleet_await(f, 0);
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", f->ports[0]);
    struct redis_access at = {.url = url};
    fleet_client(f, &at, 2000, 5000);
    WAIT_FOR(&f->w, redis_up(f->w.redis));
    redis_stats(f->w.redis, &stats);
    assert_int_equal(stats.unsafe, 1);
    at.durable = true;
    fleet_client(f, &at, 2000, 5000);
    run_for(&f->w, 300);
    assert_int_equal(f->w.ups, 1);
    fleet_order(f, 0, "CONFIG SET maxmemory-policy noeviction");
    WAIT_FOR(&f->w, f->w.ups == 2);
    redis_stats(f->w.redis, &stats);
    assert_int_equal(stats.unsafe, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fleet_setup, fleet_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_server_with_both_certificates_and_a_password_is_used),
        CASE(without_our_certificate_such_a_server_is_away),
        CASE(a_certificate_of_another_authority_is_refused),
        CASE(a_certificate_must_carry_what_was_dialled_or_the_name_that_was_set),
        CASE(a_server_without_tls_is_none),
        CASE(a_user_signs_in_and_a_new_password_is_read_from_its_file),
        CASE(a_server_that_may_lose_keys_is_refused_where_that_matters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
