/* Collateral fetched from a service in the same loop: once a platform, in every form that services
 * give it, kept, replaced by newer alone, and given up when it proves wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "devtee/issuer.h"
#include "net/http_server.h"
#include "trust/collaterals.h"

enum { WAIT_MS = 5000, GOT_MAX = 8 };

/* Of a list in an answer. */
enum form { DER, HEX, HEX_LINE, PEM, BASE64 };

struct world {
    struct loop *loop;
    struct http_server *server;
    struct devtee_issuer *issuer;
    struct devtee_faults faults;
    struct collaterals *all;
    enum form form;
    bool broken;
    unsigned asked[4];
    char url[64], root_url[96], folder[32];
    struct shared_collateral *got[GOT_MAX];
    unsigned answers;
};

/* ---- The service ---- */

static void list_write(const struct world *w, const struct buf *der, struct buf *out)
{
    AUTO(buf_fini) struct buf hex = {0};

    if (w->form == DER) {
        buf_append(out, buf_span(der));
    } else if (w->form == BASE64) {
        base64_encode(out, buf_span(der));
    } else if (w->form == PEM) {
        buf_append_str(out, "-----BEGIN X509 CRL-----\n");
        base64_encode(&hex, buf_span(der));
        for (size_t i = 0; i < hex.len; i += 64)
            buf_printf(out, "%.*s\n", SPAN_FMT(span_cut(buf_span(&hex), i, 64)));
        buf_append_str(out, "-----END X509 CRL-----\n");
    } else {
        hex_encode((char *)buf_reserve(&hex, 2 * der->len + 1), buf_span(der));
        buf_printf(out, "%s%s", (const char *)hex.data, w->form == HEX_LINE ? "\r\n" : "");
    }
}

static void signed_write(struct buf *out, const char *name, const struct buf *value,
                         const struct buf *signature)
{
    char hex[2 * 64 + 1];

    hex_encode(hex, buf_span(signature));
    buf_printf(out, "{\"%s\":%.*s,\"signature\":\"%s\"}", name, SPAN_FMT(buf_span(value)), hex);
}

/* Percent-encoded as Intel's service does it: '+' and '/' stay. */
static const char *chain_header(const struct buf *chain, struct buf *out)
{
    for (size_t i = 0; i < chain->len; i++) {
        const uint8_t c = chain->data[i];
        if (c == '\n' || c == ' ' || c == '=')
            buf_printf(out, i % 2 ? "%%%02X" : "%%%02x", c);
        else
            buf_byte(out, c);
    }
    return buf_cstr(out);
}

static void serve(struct world *w, struct http_exchange *ex)
{
    AUTO(collateral_fini) struct collateral c = {0};
    AUTO(buf_fini) struct buf chain = {0};
    struct buf body = {0};
    struct http_field field = {"TCB-Info-Issuer-Chain", NULL};
    const struct span path = http_path(ex);

    devtee_collateral(w->issuer, &w->faults, &c);
    if (span_is(path, "/tdx/certification/v4/tcb")) {
        w->asked[0]++;
        signed_write(&body, "tcbInfo", &c.tcb_info, &c.tcb_info_signature);
        field.value = chain_header(&c.tcb_info_chain, &chain);
    } else if (span_is(path, "/tdx/certification/v4/qe/identity")) {
        w->asked[1]++;
        signed_write(&body, "enclaveIdentity", &c.qe_identity, &c.qe_identity_signature);
        field.name = "SGX-Enclave-Identity-Issuer-Chain";
        field.value = chain_header(&c.qe_identity_chain, &chain);
    } else if (span_is(path, "/sgx/certification/v4/pckcrl")) {
        w->asked[2]++;
        list_write(w, &c.pck_crl, &body);
        field.name = "SGX-PCK-CRL-Issuer-Chain";
        field.value = chain_header(&c.pck_crl_chain, &chain);
    } else {
        w->asked[3]++;
        list_write(w, &c.root_crl, &body);
    }
    http_reply(ex, w->broken ? 503 : 200, &field, field.value ? 1 : 0, &body, false);
}

static void on_head(void *arg, struct http_exchange *ex)
{
    serve(arg, ex);
}

static const struct http_handler handler = {.head = on_head};

/* ---- The world ---- */

static int setup(void **state)
{
    static const uint8_t seed[DEVTEE_SEED_LEN] = {7};
    struct http_server_options o = http_server_defaults;
    struct world *w = mem_zero(sizeof(*w));
    struct net_addr at;
    char text[32];

    o.daemons = 1;
    w->issuer = devtee_issuer_new(seed, "test");
    assert_int_equal(loop_new(&w->loop), 0);
    assert_int_equal(net_addr_parse(&at, "127.0.0.1:0"), 0);
    assert_int_equal(http_server_new(&w->server, w->loop, &o, &handler, w), 0);
    assert_int_equal(http_server_listen(w->server, &at, -1), 0);
    http_server_addr(w->server, 0, &at);
    net_addr_text(&at, text, sizeof(text));
    snprintf(w->url, sizeof(w->url), "http://%s", text);
    snprintf(w->root_url, sizeof(w->root_url), "http://%s/root.der", text);
    strcpy(w->folder, "/tmp/cocoon-coll-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    *state = w;
    return 0;
}

static void forget(struct world *w)
{
    for (unsigned i = 0; i < w->answers; i++)
        shared_collateral_unref(w->got[i]);
    w->answers = 0;
}

static void close_all(struct world *w)
{
    forget(w);
    collaterals_free(w->all);
    w->all = NULL;
}

static void file_of(const struct world *w, char out[static 96])
{
    snprintf(out, 96, "%s/00dec0de0000-p.json", w->folder);
}

static int teardown(void **state)
{
    struct world *w = *state;
    char file[96];

    close_all(w);
    http_server_free(w->server);
    loop_free(w->loop);
    devtee_issuer_free(w->issuer);
    file_of(w, file);
    (void)unlink(file);
    assert_int_equal(rmdir(w->folder), 0);
    free(w);
    return 0;
}

static void open_all(struct world *w)
{
    const struct collaterals_options o = {
        .url = w->url, .root_crl_url = w->root_url, .cache = w->folder};

    assert_int_equal(collaterals_new(&w->all, w->loop, &o), 0);
    assert_non_null(w->all);
}

static void on_collateral(void *arg, struct shared_collateral *c)
{
    struct world *w = arg;

    assert_true(w->answers < GOT_MAX);
    w->got[w->answers++] = c;
}

static const struct attest_platform DEV = {.fmspc = {0x00, 0xDE, 0xC0, 0xDE}, .platform_ca = true};

static void wait_answers(struct world *w, unsigned count)
{
    const uint64_t until = clock_mono_ms() + WAIT_MS;

    while (w->answers < count && clock_mono_ms() < until)
        loop_turn(w->loop, 20);
    assert_int_equal(w->answers, count);
}

/* The collateral for a platform, or NULL; lives until forget(). */
static struct shared_collateral *get(struct world *w, bool stapled)
{
    struct attest_platform platform = DEV;
    const unsigned before = w->answers;

    platform.stapled = stapled;
    collaterals_get(w->all, &platform, on_collateral, w);
    wait_answers(w, before + 1);
    return w->got[before];
}

static void assert_whole(const struct world *w, const struct shared_collateral *c)
{
    AUTO(collateral_fini) struct collateral made = {0};

    devtee_collateral(w->issuer, &w->faults, &made);
    assert_non_null(c);
    assert_true(span_eq(buf_span(&c->parts.tcb_info), buf_span(&made.tcb_info)));
    assert_true(span_eq(buf_span(&c->parts.tcb_info_chain), buf_span(&made.tcb_info_chain)));
    assert_true(span_eq(buf_span(&c->parts.qe_identity_chain), buf_span(&made.qe_identity_chain)));
    assert_true(span_eq(buf_span(&c->parts.pck_crl_chain), buf_span(&made.pck_crl_chain)));
}

/* ---- Fetching ---- */

static void a_platforms_collateral_is_fetched_once_for_all_who_wait(void **state)
{
    struct world *w = *state;

    open_all(w);
    for (int i = 0; i < 4; i++)
        collaterals_get(w->all, &DEV, on_collateral, w);
    wait_answers(w, 4);
    for (int i = 0; i < 4; i++) {
        assert_whole(w, w->got[i]);
        assert_true(w->got[i]->fetched);
        assert_int_equal(w->asked[i], 1);
    }
    assert_whole(w, get(w, true));
    assert_int_equal(w->asked[0], 1);
}

static void lists_are_read_in_every_form_that_services_give(void **state)
{
    struct world *w = *state;

    for (w->form = DER; w->form <= BASE64; w->form++) {
        AUTO(x509_crl_free) struct x509_crl *pck = NULL, *root = NULL;
        char file[96];
        file_of(w, file);
        (void)unlink(file);
        open_all(w);
        const struct shared_collateral *c = get(w, false);
        assert_whole(w, c);
        assert_int_equal(x509_crl_read(&pck, buf_span(&c->parts.pck_crl)), 0);
        assert_int_equal(x509_crl_read(&root, buf_span(&c->parts.root_crl)), 0);
        assert_true(x509_crl_issuer_is(pck, "Intel SGX PCK Platform CA"));
        assert_true(x509_crl_issuer_is(root, "Intel SGX Root CA"));
        close_all(w);
    }
}

static void what_is_on_disk_serves_after_a_restart_without_the_service(void **state)
{
    struct world *w = *state;

    open_all(w);
    assert_whole(w, get(w, false));
    close_all(w);
    w->broken = true;
    open_all(w);
    assert_whole(w, get(w, false));
}

static void a_broken_service_leaves_what_is_stapled_or_nothing(void **state)
{
    struct world *w = *state;

    w->broken = true;
    open_all(w);
    assert_null(get(w, true));
    assert_null(get(w, false));
    assert_int_equal(w->asked[0], 1); /* not again within a minute */
}

static void a_file_that_is_spoiled_is_fetched_again(void **state)
{
    struct world *w = *state;
    char file[96];

    file_of(w, file);
    assert_int_equal(file_replace(file, SPAN("{\"tcb_info\":\"{}\"}"), 0600), 0);
    open_all(w);
    assert_whole(w, get(w, false));
    assert_int_equal(w->asked[0], 1);
}

/* ---- Replacing ---- */

static void judge(struct shared_collateral *c, enum attest_reason reason)
{
    const struct attest_verdict v = {.reason = reason};

    collaterals_judged(c, &v);
}

static void what_proved_wrong_gives_way_and_is_replaced(void **state)
{
    struct world *w = *state;
    struct shared_collateral *first;

    open_all(w);
    first = get(w, false);
    judge(first, ATTEST_QUOTE_SIGNATURE_INVALID); /* the quote's fault */
    judge(first, ATTEST_OK);
    assert_ptr_equal(get(w, true), first);
    judge(first, ATTEST_TCB_INFO_SIGNATURE_INVALID);
    assert_null(get(w, true)); /* the worker's own serves */
    close_all(w);
    open_all(w); /* the disk's is as wrong */
    first = get(w, false);
    assert_int_equal(w->asked[0], 1);
    judge(first, ATTEST_TCB_INFO_SIGNATURE_INVALID);
    struct shared_collateral *second = get(w, false);
    assert_int_equal(w->asked[0], 2);
    assert_ptr_not_equal(second, first);
    judge(second, ATTEST_TCB_INFO_SIGNATURE_INVALID);
    assert_ptr_equal(get(w, false), second); /* better than nothing, for a minute */
}

static void judging_nothing_is_fine(void **state)
{
    (void)state;
    judge(NULL, ATTEST_TCB_INFO_INVALID);
}

static void a_list_that_ended_is_fetched_anew_though_the_tcb_info_is_the_same(void **state)
{
    struct world *w = *state;

    w->faults.pck_crl_expired = true;
    open_all(w);
    const struct shared_collateral *ended = get(w, false);
    assert_non_null(ended);
    assert_true(ended->until_s < (uint64_t)time(NULL));
    close_all(w);
    w->faults.pck_crl_expired = false;
    open_all(w);
    const struct shared_collateral *fresh = get(w, false);
    assert_int_equal(w->asked[2], 2);
    assert_true(fresh->until_s > (uint64_t)time(NULL));
}

/* ---- Other platforms ---- */

static void what_is_for_another_platform_is_not_kept_for_this_one(void **state)
{
    struct world *w = *state;
    struct attest_platform other = DEV;

    open_all(w);
    other.fmspc[5] = 1;
    collaterals_get(w->all, &other, on_collateral, w);
    other = DEV;
    other.platform_ca = false;
    collaterals_get(w->all, &other, on_collateral, w);
    wait_answers(w, 2);
    assert_true(!w->got[0] && !w->got[1]);
}

static void many_made_up_platforms_leave_room_for_a_real_one(void **state)
{
    struct world *w = *state;
    struct attest_platform other = DEV;

    w->broken = true;
    open_all(w);
    for (int i = 0; i < 300; i++) {
        other.fmspc[3] = 0; /* none of these is the dev platform */
        other.fmspc[4] = (uint8_t)(i >> 8);
        other.fmspc[5] = (uint8_t)i;
        collaterals_get(w->all, &other, on_collateral, w);
        wait_answers(w, 1);
        forget(w);
    }
    w->broken = false;
    assert_whole(w, get(w, false));
}

/* ---- Bundles ---- */

static void a_bundle_is_found_by_platform_and_ca(void **state)
{
    struct world *w = *state;
    AUTO(collateral_fini) struct collateral c = {0};
    AUTO(buf_fini) struct buf json = {0};
    struct attest_platform other = DEV;
    char file[96];

    file_of(w, file);
    devtee_collateral(w->issuer, NULL, &c);
    buf_append_str(&json, "{\"bundle\":[");
    collateral_write(&c, &json);
    buf_append_str(&json, "]}");
    assert_int_equal(file_replace(file, buf_span(&json), 0600), 0);
    const struct collaterals_options o = {.bundle = file};
    assert_int_equal(collaterals_new(&w->all, w->loop, &o), 0);
    const struct shared_collateral *found = get(w, false);
    assert_whole(w, found);
    assert_false(found->fetched); /* it raises no floor */
    other.platform_ca = false;
    collaterals_get(w->all, &other, on_collateral, w);
    other = DEV;
    other.fmspc[0] = 1;
    collaterals_get(w->all, &other, on_collateral, w);
    wait_answers(w, 3);
    assert_true(!w->got[1] && !w->got[2]);
}

static void a_bundle_that_is_none_is_told(void **state)
{
    static const char *const bad[] = {"", "{}", "{\"bundle\":[{}]}", "{\"bundle\":[1]}", "[]"};
    struct world *w = *state;
    char file[96];

    file_of(w, file);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct collaterals_options o = {.bundle = file};
        assert_int_equal(file_replace(file, span_str(bad[i]), 0600), 0);
        assert_true(collaterals_new(&w->all, w->loop, &o) < 0);
        assert_null(w->all);
    }
}

/* ---- Ends ---- */

static void who_waits_is_answered_when_it_stops(void **state)
{
    struct world *w = *state;

    open_all(w);
    collaterals_get(w->all, &DEV, on_collateral, w);
    collaterals_stop(w->all);
    assert_int_equal(w->answers, 1);
    assert_null(w->got[0]);
    assert_null(get(w, false));
    assert_int_equal(w->asked[0], 0);
}

static void without_settings_there_is_none(void **state)
{
    struct world *w = *state;
    const struct collaterals_options o = {.url = "", .root_crl_url = "http://x", .bundle = ""};

    assert_int_equal(collaterals_new(&w->all, w->loop, &o), 0);
    assert_null(w->all);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_platforms_collateral_is_fetched_once_for_all_who_wait),
        CASE(lists_are_read_in_every_form_that_services_give),
        CASE(what_is_on_disk_serves_after_a_restart_without_the_service),
        CASE(a_broken_service_leaves_what_is_stapled_or_nothing),
        CASE(a_file_that_is_spoiled_is_fetched_again),
        CASE(what_proved_wrong_gives_way_and_is_replaced),
        CASE(a_list_that_ended_is_fetched_anew_though_the_tcb_info_is_the_same),
        CASE(what_is_for_another_platform_is_not_kept_for_this_one),
        CASE(many_made_up_platforms_leave_room_for_a_real_one),
        CASE(judging_nothing_is_fine),
        CASE(a_bundle_is_found_by_platform_and_ca),
        CASE(a_bundle_that_is_none_is_told),
        CASE(who_waits_is_answered_when_it_stops),
        CASE(without_settings_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
