/* Attestation documents: what binds their parts, one quote at a time, and what is stapled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "attest/document.h"
#include "base/encode.h"
#include "base/json.h"
#include "tests/unit/worker/fake_quote.h"
#include "worker/evidence.h"

/* A provider that quotes what it is asked, and counts who asks at the same time. */
struct provider {
    char path[64];
    int listener;
    pthread_t thread;
    unsigned delay_us;
    atomic_int asked, together, most;
};

struct world {
    struct loop *loop;
    struct offload *offload;
    struct evidence *evidence;
    struct provider provider;
    struct gpu_reader *gpus;
};

static void *serve_one(void *arg)
{
    struct provider *p = ((void **)arg)[0];
    const int fd = (int)(intptr_t)((void **)arg)[1];
    AUTO(buf_fini) struct buf quote = {0}, answer = {0};
    uint8_t data[QUOTE_REPORT_DATA_LEN];

    free(arg);
    assert_int_equal(recv(fd, data, sizeof(data), MSG_WAITALL), sizeof(data));
    p->asked++;
    const int now = ++p->together;
    if (now > p->most)
        p->most = now;
    usleep(p->delay_us);
    p->together--;
    fake_quote(&quote, data);
    buf_u32be(&answer, (uint32_t)quote.len);
    buf_append(&answer, buf_span(&quote));
    (void)!send(fd, answer.data, answer.len, MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    struct provider *p = arg;
    int fd;

    while ((fd = accept(p->listener, NULL, NULL)) >= 0) {
        void **both = mem_zero(2 * sizeof(void *));
        pthread_t thread;
        both[0] = p;
        both[1] = (void *)(intptr_t)fd;
        assert_int_equal(pthread_create(&thread, NULL, serve_one, both), 0);
        pthread_detach(thread);
    }
    return NULL;
}

static void provider_begin(struct provider *p)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(p->path, sizeof(p->path), "/tmp/cocoon-evidence-%d.sock", (int)getpid());
    strcpy(address.sun_path, p->path);
    unlink(p->path);
    p->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(p->listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(p->listener, 16), 0);
    assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void world_evidence(struct world *w, const char *setting, const char *collateral,
                           const char *log)
{
    struct evidence_options options = {
        .gpus = w->gpus, .collateral_file = collateral, .event_log_file = log};
    char socket[80];

    snprintf(socket, sizeof(socket), "socket:%s", w->provider.path);
    assert_int_equal(quote_source_read(&options.source, setting ? setting : socket), 0);
    assert_int_equal(evidence_new(&w->evidence, w->loop, w->offload, &options), 0);
}

static int begin(void **state)
{
    static struct world w;

    w = (struct world){0};
    provider_begin(&w.provider);
    assert_int_equal(loop_new(&w.loop), 0);
    assert_int_equal(offload_new(&w.offload, w.loop, 2), 0);
    *state = &w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;

    offload_free(w->offload);
    evidence_free(w->evidence);
    gpu_close(w->gpus);
    loop_free(w->loop);
    shutdown(w->provider.listener, SHUT_RDWR);
    pthread_join(w->provider.thread, NULL);
    close(w->provider.listener);
    unlink(w->provider.path);
    return 0;
}

/* ---- Asking ---- */

struct answer {
    int error;
    bool told;
    struct buf document;
};

static void on_evidence(void *arg, int error, struct buf *document)
{
    struct answer *a = arg;

    assert_false(a->told);
    a->told = true;
    a->error = error;
    if (document)
        buf_take(&a->document, document);
}

static const uint8_t NONCE[EVIDENCE_NONCE_LEN] = {5, 6};

static struct evidence_ask *ask(struct world *w, struct answer *a)
{
    struct evidence_ask *handle = NULL;

    assert_int_equal(evidence_ask(w->evidence, NONCE, SPAN("{keyset}"), on_evidence, a, &handle),
                     0);
    assert_false(a->told);
    return handle;
}

static void wait_for(struct world *w, const struct answer *a)
{
    for (int turns = 0; !a->told && turns < 1000; turns++)
        loop_turn(w->loop, 10);
    assert_true(a->told);
}

static void member(const json_t *doc, const char *name, struct buf *out)
{
    struct span text;

    assert_int_equal(json_obj_string(doc, name, &text), 0);
    assert_int_equal(base64_decode(out, text), 0);
}

static void the_quote_binds_nonce_and_keyset(void **state)
{
    struct world *w = *state;
    AUTO(buf_fini) struct buf quote = {0}, keyset = {0}, expected = {0};
    AUTO_JSON json_t *doc = NULL;
    struct answer a = {0};
    uint8_t data[QUOTE_REPORT_DATA_LEN];
    struct span tee;

    world_evidence(w, NULL, "", "");
    ask(w, &a);
    wait_for(w, &a);
    assert_int_equal(json_read(buf_span(&a.document), &doc), 0);
    assert_int_equal(json_obj_string(doc, "tee", &tee), 0);
    assert_true(span_is(tee, "insecure-dev"));
    member(doc, "keyset", &keyset);
    assert_string_equal(buf_cstr(&keyset), "{keyset}");
    member(doc, "quote", &quote);
    attest_report_data(data, NONCE, SPAN("{keyset}"), SPAN(""));
    fake_quote(&expected, data);
    assert_true(span_eq(buf_span(&quote), buf_span(&expected)));
    assert_null(json_object_get(doc, "collateral"));
    buf_fini(&a.document);
}

/* GPU nonce from nonce and keyset, report data from the GPUs' evidence (wire.md §2). */
static void gpus_and_quote_are_bound_to_each_other(void **state)
{
    struct world *w = *state;
    AUTO(buf_fini) struct buf quote = {0}, devices = {0}, expected = {0};
    AUTO_JSON json_t *doc = NULL;
    struct answer a = {0};
    uint8_t nonce[GPU_NONCE_LEN], data[QUOTE_REPORT_DATA_LEN];
    char library[512] = "", why[GPU_WHY_LEN];

    assert_true(readlink("/proc/self/exe", library, sizeof(library) - 16) > 0);
    strcpy(strrchr(library, '/'), "/fake_nvml.so");
    assert_int_equal(gpu_open(&w->gpus, library, why), 0);
    world_evidence(w, NULL, "", "");
    ask(w, &a);
    wait_for(w, &a);
    assert_int_equal(json_read(buf_span(&a.document), &doc), 0);
    attest_gpu_nonce(nonce, NONCE, SPAN("{keyset}"));
    assert_int_equal(gpu_evidence(w->gpus, nonce, &expected, why), 0);
    member(doc, "device_evidence", &devices);
    assert_string_equal(buf_cstr(&devices), buf_cstr(&expected));
    attest_report_data(data, NONCE, SPAN("{keyset}"), buf_span(&devices));
    buf_clear(&expected);
    fake_quote(&expected, data);
    member(doc, "quote", &quote);
    assert_true(span_eq(buf_span(&quote), buf_span(&expected)));
    buf_fini(&a.document);
}

static void quotes_are_asked_for_one_at_a_time(void **state)
{
    struct world *w = *state;
    struct answer a[5] = {{0}};

    w->provider.delay_us = 20000;
    world_evidence(w, NULL, "", "");
    for (int i = 0; i < 5; i++)
        ask(w, &a[i]);
    for (int i = 0; i < 5; i++) {
        wait_for(w, &a[i]);
        assert_int_equal(a[i].error, 0);
        buf_fini(&a[i].document);
    }
    assert_int_equal(w->provider.asked, 5);
    assert_int_equal(w->provider.most, 1);
}

static void nobody_is_told_who_went_away_and_no_quote_is_wasted_on_them(void **state)
{
    struct world *w = *state;
    struct answer a[4] = {{0}};
    struct evidence_ask *handles[4];

    w->provider.delay_us = 20000;
    world_evidence(w, NULL, "", "");
    for (int i = 0; i < 4; i++)
        handles[i] = ask(w, &a[i]);
    for (int i = 0; i < 3; i++)
        evidence_forget(handles[i]);
    wait_for(w, &a[3]);
    assert_false(a[0].told || a[1].told || a[2].told);
    assert_int_equal(w->provider.asked, 2); // the first was under way
    buf_fini(&a[3].document);
}

static void too_many_are_turned_away(void **state)
{
    struct world *w = *state;
    struct answer a[EVIDENCE_WAITING_MAX + 1] = {{0}};
    struct evidence_ask *handle;

    w->provider.delay_us = 1000;
    world_evidence(w, NULL, "", "");
    for (int i = 0; i < EVIDENCE_WAITING_MAX; i++)
        ask(w, &a[i]);
    assert_int_equal(evidence_ask(w->evidence, NONCE, SPAN("{}"), on_evidence,
                                  &a[EVIDENCE_WAITING_MAX], &handle),
                     E_BUSY);
    for (int i = 0; i < EVIDENCE_WAITING_MAX; i++) {
        wait_for(w, &a[i]);
        buf_fini(&a[i].document);
    }
    assert_false(a[EVIDENCE_WAITING_MAX].told);
}

static void who_went_away_leaves_room_for_others(void **state)
{
    struct world *w = *state;
    struct answer a[EVIDENCE_WAITING_MAX] = {{0}}, last = {0};
    struct evidence_ask *handles[EVIDENCE_WAITING_MAX];

    w->provider.delay_us = 20000;
    world_evidence(w, NULL, "", "");
    for (int i = 0; i < EVIDENCE_WAITING_MAX; i++)
        handles[i] = ask(w, &a[i]);
    for (int i = 1; i < EVIDENCE_WAITING_MAX; i++)
        evidence_forget(handles[i]);
    ask(w, &last);
    wait_for(w, &last);
    assert_int_equal(last.error, 0);
    assert_int_equal(w->provider.asked, 2);
    buf_fini(&a[0].document);
    buf_fini(&last.document);
}

struct asker {
    struct world *w;
    struct answer first, second;
};

static void ask_again(void *arg, int error, struct buf *document)
{
    struct asker *at = arg;

    ask(at->w, &at->second);
    on_evidence(&at->first, error, document);
}

static void who_is_told_may_ask_again_at_once(void **state)
{
    struct world *w = *state;
    struct asker at = {.w = w};
    struct answer between = {0};
    struct evidence_ask *handle;

    world_evidence(w, NULL, "", "");
    assert_int_equal(evidence_ask(w->evidence, NONCE, SPAN("{one}"), ask_again, &at, &handle), 0);
    ask(w, &between);
    wait_for(w, &at.second);
    assert_int_equal(at.first.error | between.error | at.second.error, 0);
    assert_non_null(strstr(buf_cstr(&at.first.document), "e29uZX0=")); /* {one} */
    assert_non_null(strstr(buf_cstr(&between.document), "e2tleXNldH0="));
    assert_non_null(strstr(buf_cstr(&at.second.document), "e2tleXNldH0="));
    assert_int_equal(w->provider.asked, 3);
    buf_fini(&at.first.document);
    buf_fini(&between.document);
    buf_fini(&at.second.document);
}

static void an_error_of_the_source_is_told(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    world_evidence(w, "socket:/tmp/cocoon-no-such.sock", "", "");
    ask(w, &a);
    wait_for(w, &a);
    assert_int_equal(a.error, E_IO);
    assert_int_equal(a.document.len, 0);
}

static void a_worker_without_tee_says_so_and_quotes_nothing(void **state)
{
    struct world *w = *state;
    AUTO(buf_fini) struct buf quote = {0};
    AUTO_JSON json_t *doc = NULL;
    struct answer a = {0};
    struct span tee;

    world_evidence(w, "none", "", "");
    ask(w, &a);
    wait_for(w, &a);
    assert_int_equal(json_read(buf_span(&a.document), &doc), 0);
    assert_int_equal(json_obj_string(doc, "tee", &tee), 0);
    assert_true(span_is(tee, "none"));
    member(doc, "quote", &quote);
    assert_int_equal(quote.len, 0);
    assert_int_equal(w->provider.asked, 0);
    buf_fini(&a.document);
}

static void put_file(char *path, const char *text)
{
    const int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void collateral_and_event_log_are_stapled_as_they_are(void **state)
{
    struct world *w = *state;
    char collateral[] = "/tmp/cocoon-collateral-XXXXXX", log[] = "/tmp/cocoon-ccel-XXXXXX";
    AUTO(buf_fini) struct buf bytes = {0};
    AUTO_JSON json_t *doc = NULL;
    struct json_member found;
    struct answer a = {0};

    put_file(collateral, " {\"tcb_info\": \"{ }\"}\n");
    put_file(log, "events");
    world_evidence(w, NULL, collateral, log);
    ask(w, &a);
    wait_for(w, &a);
    assert_int_equal(json_read(buf_span(&a.document), &doc), 0);
    assert_int_equal(json_member_find(buf_span(&a.document), "collateral", &found), 0);
    assert_true(span_is(found.value, "{\"tcb_info\": \"{ }\"}"));
    member(doc, "event_log", &bytes);
    assert_string_equal(buf_cstr(&bytes), "events");
    buf_fini(&a.document);
    unlink(collateral);
    unlink(log);
}

static void a_staple_that_cannot_be_had_is_left_out(void **state)
{
    struct world *w = *state;
    char collateral[] = "/tmp/cocoon-collateral-XXXXXX";
    AUTO_JSON json_t *doc = NULL;
    struct answer a = {0};

    put_file(collateral, "not json");
    world_evidence(w, NULL, collateral, "/tmp/cocoon-no-such-log");
    ask(w, &a);
    wait_for(w, &a);
    assert_int_equal(json_read(buf_span(&a.document), &doc), 0);
    assert_null(json_object_get(doc, "collateral"));
    assert_null(json_object_get(doc, "event_log"));
    buf_fini(&a.document);
    unlink(collateral);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(the_quote_binds_nonce_and_keyset),
        IN_WORLD(gpus_and_quote_are_bound_to_each_other),
        IN_WORLD(quotes_are_asked_for_one_at_a_time),
        IN_WORLD(nobody_is_told_who_went_away_and_no_quote_is_wasted_on_them),
        IN_WORLD(too_many_are_turned_away),
        IN_WORLD(who_went_away_leaves_room_for_others),
        IN_WORLD(who_is_told_may_ask_again_at_once),
        IN_WORLD(an_error_of_the_source_is_told),
        IN_WORLD(a_worker_without_tee_says_so_and_quotes_nothing),
        IN_WORLD(collateral_and_event_log_are_stapled_as_they_are),
        IN_WORLD(a_staple_that_cannot_be_had_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
