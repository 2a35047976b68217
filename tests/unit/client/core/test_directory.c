/* Searches end, whatever the gateway does: at once when it cannot be asked, in time when it does
 * not answer. */
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/clock.h"
#include "client/core/directory_impl.h"
#include "net/listener.h"

enum { SILENCE_MS = 100, PATIENCE_MS = 5000 };

struct world {
    struct client client;
    struct net_listener *listener;
    int served; /* the gateway's end of a connection; -1: none */
    int calls;
    struct api_fault fault;
    const struct verified *found;
};

static void on_accept(void *arg, int fd, const struct net_addr *peer)
{
    struct world *w = arg;

    (void)peer;
    w->served = fd;
}

static void on_found(void *arg, struct verified *v, const char *served,
                     const struct api_fault *fault)
{
    struct world *w = arg;

    (void)served;
    w->calls++;
    w->found = v;
    if (!v)
        w->fault = *fault;
}

static void begin(struct world *w, const char *base)
{
    const struct http_client_options options = {.max_connections = 2, .connect_ms = 1000};
    struct client *c = &w->client;

    *w = (struct world){.served = -1};
    assert_int_equal(loop_new(&c->loop), 0);
    assert_int_equal(offload_new(&c->offload, c->loop, 1), 0);
    assert_int_equal(http_client_new(&c->http, c->loop, &options), 0);
    c->silence_ms = SILENCE_MS;
    c->directory = directory_new(c);
    if (base) {
        c->base = mem_strdup(base);
        return;
    }
    struct net_addr at;
    char text[128], url[160];
    assert_int_equal(net_addr_parse(&at, "127.0.0.1:0"), 0);
    assert_int_equal(net_listen(&w->listener, c->loop, &at, on_accept, w), 0);
    net_listener_addr(w->listener, &at);
    net_addr_text(&at, text, sizeof(text));
    snprintf(url, sizeof(url), "http://%s", text);
    c->base = mem_strdup(url);
}

static void search_for(struct world *w, const struct directory_ask *ask)
{
    const uint64_t until = clock_mono_ms() + PATIENCE_MS;

    w->calls = 0;
    assert_non_null(directory_find(w->client.directory, ask, on_found, w));
    while (w->calls == 0 && clock_mono_ms() < until)
        loop_turn(w->client.loop, 20);
    assert_int_equal(w->calls, 1);
}

static void search(struct world *w)
{
    search_for(w, &(struct directory_ask){.model = SPAN("some-model")});
}

static void end(struct world *w)
{
    struct client *c = &w->client;

    offload_free(c->offload);
    directory_free(c->directory);
    http_client_free(c->http);
    net_listener_free(w->listener);
    loop_turn(c->loop, 0);
    loop_free(c->loop);
    free(c->base);
    if (w->served >= 0)
        close(w->served);
}

static void a_gateway_that_has_no_url_ends_a_search(void **state)
{
    struct world w;

    (void)state;
    begin(&w, "no url at all");
    search(&w);
    assert_null(w.found);
    assert_ptr_equal(w.fault.error, &ERR_GATEWAY_UNREACHABLE);
    end(&w);
}

static void a_gateway_that_does_not_answer_ends_a_search(void **state)
{
    struct world w;

    (void)state;
    begin(&w, NULL);
    search(&w);
    assert_null(w.found);
    assert_ptr_equal(w.fault.error, &ERR_UPSTREAM_TIMEOUT);
    end(&w);
}

/* As one that was accepted, of a worker that has this number. */
static struct verified *verify(struct world *w, uint8_t key, uint8_t worker)
{
    const uint8_t kfp[KFP_LEN] = {key};
    struct verified *v = mem_zero(sizeof(*v));

    v->refs = 1;
    v->until_s = UINT64_MAX;
    memset(v->keyset.tls_spki, worker, sizeof(v->keyset.tls_spki));
    v->keyset.models[v->keyset.model_count++] = SPAN("some-model");
    key_take_verified(key_get(w->client.directory, kfp), v);
    return v;
}

static void what_is_under_way_at_a_worker_outlives_its_keys_and_their_verifications(void **state)
{
    struct world w;

    (void)state;
    begin(&w, "no url at all");
    struct verified *v = verified_ref(verify(&w, 1, 7)); /* by a request that runs */
    v->errands->in_flight++;
    assert_int_equal(verify(&w, 1, 7)->errands->in_flight, 1);
    assert_int_equal(verify(&w, 2, 7)->errands->in_flight, 1); /* a new key of the same worker */
    assert_int_equal(verify(&w, 3, 8)->errands->in_flight, 0);
    directory_rejudge(w.client.directory);
    assert_int_equal(verify(&w, 1, 7)->errands->in_flight, 1);
    v->errands->in_flight--;
    assert_int_equal(verify(&w, 2, 7)->errands->in_flight, 0);
    verified_unref(v);
    end(&w);
}

static void list(struct world *w, uint8_t first, uint8_t second)
{
    struct model_entry *m = model_get(w->client.directory, SPAN("some-model"));

    m->fetched = true;
    m->fetched_ms = loop_now(w->client.loop);
    m->list = (struct worker_list){
        .model = "some-model", .ttl_s = 60, .kfp = {{first}, {second}}, .count = 2};
}

static void a_conversation_stays_where_its_cache_is_unless_that_is_much_busier(void **state)
{
    struct directory_ask ask = {.model = SPAN("some-model"), .next = {.kfp = {{1}}, .count = 1}};
    struct world w;

    (void)state;
    begin(&w, "no url at all");
    struct verified *own = verify(&w, 1, 7), *other = verify(&w, 2, 8);
    list(&w, 2, 1);
    own->errands->in_flight = 9;
    other->errands->in_flight = 1;
    search_for(&w, &ask);
    assert_ptr_equal(w.found, own);
    own->errands->in_flight = 10;
    search_for(&w, &ask);
    assert_ptr_equal(w.found, other);
    ask.sent_there = true; /* a slot may be kept there */
    search_for(&w, &ask);
    assert_ptr_equal(w.found, own);
    ask.next.count = 0;
    search_for(&w, &ask);
    assert_ptr_equal(w.found, other);
    end(&w);
}

static void a_search_for_one_worker_finds_that_one_or_none(void **state)
{
    struct directory_ask ask = {.model = SPAN("some-model"),
                                .next = {.kfp = {{1}}, .count = 1},
                                .bound = true,
                                .worker = {2}};
    struct world w;

    (void)state;
    begin(&w, "no url at all");
    struct verified *busy = verify(&w, 2, 8), *unlisted = verify(&w, 3, 9);
    (void)verify(&w, 1, 7);
    list(&w, 1, 2);
    busy->errands->in_flight = 100;
    search_for(&w, &ask);
    assert_ptr_equal(w.found, busy);
    ask.worker[0] = 3;
    search_for(&w, &ask);
    assert_ptr_equal(w.found, unlisted);
    ask.tried[0][0] = 3; /* it was asked, and did not take it */
    ask.tried_count = 1;
    search_for(&w, &ask);
    assert_null(w.found);
    assert_ptr_equal(w.fault.error, &ERR_NO_CAPACITY);
    ask.worker[0] = 4; /* unknown, and its evidence cannot be had */
    search_for(&w, &ask);
    assert_null(w.found);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gateway_that_has_no_url_ends_a_search),
        cmocka_unit_test(a_gateway_that_does_not_answer_ends_a_search),
        cmocka_unit_test(a_conversation_stays_where_its_cache_is_unless_that_is_much_busier),
        cmocka_unit_test(a_search_for_one_worker_finds_that_one_or_none),
        cmocka_unit_test(what_is_under_way_at_a_worker_outlives_its_keys_and_their_verifications),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
