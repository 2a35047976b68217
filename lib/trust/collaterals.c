/* One fetch a platform at a time; kept on disk, replaced only by newer, used until its end. Nothing
 * of it is trusted before a verification. */
#include "trust/collaterals_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "net/http_whole.h"

enum {
    FETCH_MS = 20000,
    RETRY_MS = 60000,
    DAY_S = 86400,
    ALARM_S = 7 * DAY_S,
    BODY_MAX = COLLATERAL_MAX,
    CONNECTIONS = 4,
    BUNDLE_MAX = 16 * 1024 * 1024,
    PLATFORMS_MAX = 256,
    PLATFORM_KEY_LEN = 16
};

#define INTEL_ROOT_CRL "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"

enum part { PART_TCB, PART_QE, PART_PCK_CRL, PART_ROOT_CRL, PARTS };

struct platform;

/* One of the four answers. */
struct part_fetch {
    struct platform *platform;
    struct http_whole answer;
    struct buf chain;
    bool good;
};

struct waiting {
    struct list link;
    bool stapled; /* the document brings its own */
    collateral_fn *fn;
    void *arg;
};

struct platform {
    struct collaterals *all;
    char key[PLATFORM_KEY_LEN]; /* "00906ed50000-p": FMSPC and the CA's letter */
    struct attest_platform of;
    struct shared_collateral *have; /* NULL: none yet */
    bool looked;                    /* on disk */
    unsigned running;
    uint64_t tried_ms; /* 0: never */
    uint64_t asked_ms;
    struct part_fetch parts[PARTS];
    struct list waiting;
};

/* Of the bundle. */
struct imported {
    struct shared_collateral *shared;
    struct attest_platform of;
};

struct collaterals {
    struct loop *loop;
    struct http_client *client;        /* NULL: nothing is fetched */
    char *url, *root_crl_url, *folder; /* folder NULL: nothing is kept on disk */
    struct map platforms;              /* key → struct platform */
    struct imported *bundle;
    size_t bundle_count;
    bool stopped;
};

static uint64_t wall_s(void)
{
    return clock_wall_ms() / 1000;
}

/* ---- Files ---- */

static void path_of(const struct platform *p, struct buf *out)
{
    buf_printf(out, "%s/%s.json", p->all->folder, p->key);
}

/* Whole or not at all; without it the next start fetches again. */
static void keep_on_disk(const struct platform *p)
{
    AUTO(buf_fini) struct buf json = {0}, path = {0};

    if (!p->all->folder)
        return;
    path_of(p, &path);
    collateral_write(&p->have->parts, &json);
    if (file_replace(buf_cstr(&path), buf_span(&json), 0644) < 0)
        log_event(LOG_WARN, "collateral_unkept", "platform=%s error=%s", p->key, strerror(errno));
}

static void look_on_disk(struct platform *p)
{
    AUTO(buf_fini) struct buf json = {0}, path = {0};
    AUTO(collateral_fini) struct collateral c = {0};

    if (p->looked || !p->all->folder)
        return;
    p->looked = true;
    path_of(p, &path);
    if (file_read(buf_cstr(&path), 4 * COLLATERAL_MAX, &json) == 0 &&
        collateral_read_bytes(&c, buf_span(&json)) == 0)
        p->have = shared_collateral_of(&c, true);
    if (p->have && !shared_collateral_is_for(p->have, &p->of)) {
        shared_collateral_unref(p->have);
        p->have = NULL;
    }
}

/* ---- The bundle ---- */

static int bundle_add(struct collaterals *all, const json_t *object)
{
    AUTO(collateral_fini) struct collateral c = {0};
    struct imported item = {.shared = NULL};

    TRY(collateral_read(&c, object));
    item.shared = shared_collateral_of(&c, false);
    if (!item.shared)
        return E_INVALID;
    if (shared_collateral_platform(item.shared, &item.of) < 0) {
        shared_collateral_unref(item.shared);
        return E_INVALID;
    }
    all->bundle = mem_grow(all->bundle, (all->bundle_count + 1) * sizeof(item));
    all->bundle[all->bundle_count++] = item;
    return 0;
}

static int bundle_read(struct collaterals *all, const char *file)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO_JSON json_t *doc = NULL;
    const json_t *item;
    size_t i;

    TRY(file_read(file, BUNDLE_MAX, &text));
    TRY(json_read(buf_span(&text), &doc));
    const json_t *list = json_object_get(doc, "bundle");
    if (!json_is_array(list))
        return bundle_add(all, doc);
    json_array_foreach(list, i, item)
        TRY(bundle_add(all, item));
    return 0;
}

static struct shared_collateral *bundle_find(const struct collaterals *all,
                                             const struct attest_platform *of)
{
    for (size_t i = 0; i < all->bundle_count; i++)
        if (memcmp(all->bundle[i].of.fmspc, of->fmspc, sizeof(of->fmspc)) == 0 &&
            all->bundle[i].of.platform_ca == of->platform_ca)
            return all->bundle[i].shared;
    return NULL;
}

/* ---- Fetching ---- */

static const char *const chain_headers[PARTS] = {
    [PART_TCB] = "TCB-Info-Issuer-Chain",
    [PART_QE] = "SGX-Enclave-Identity-Issuer-Chain",
    [PART_PCK_CRL] = "SGX-PCK-CRL-Issuer-Chain",
};

static void part_url(const struct platform *p, enum part part, struct buf *out)
{
    const struct collaterals *all = p->all;
    char fmspc[13];

    hex_encode(fmspc, SPAN_OF(p->of.fmspc));
    if (part == PART_TCB)
        buf_printf(out, "%s/tdx/certification/v4/tcb?fmspc=%s", all->url, fmspc);
    else if (part == PART_QE)
        buf_printf(out, "%s/tdx/certification/v4/qe/identity", all->url);
    else if (part == PART_PCK_CRL)
        buf_printf(out, "%s/sgx/certification/v4/pckcrl?ca=%s&encoding=der", all->url,
                   p->of.platform_ca ? "platform" : "processor");
    else
        buf_append_str(out, all->root_crl_url);
}

static int assemble(struct platform *p, struct collateral *c)
{
    struct part_fetch *f = p->parts;

    for (size_t i = 0; i < PARTS; i++)
        if (!f[i].good)
            return E_UNAVAILABLE;
    TRY(collateral_set_tcb_info(c, buf_span(&f[PART_TCB].answer.body),
                                buf_span(&f[PART_TCB].chain)));
    TRY(collateral_set_qe_identity(c, buf_span(&f[PART_QE].answer.body),
                                   buf_span(&f[PART_QE].chain)));
    TRY(collateral_set_pck_crl(c, buf_span(&f[PART_PCK_CRL].answer.body),
                               buf_span(&f[PART_PCK_CRL].chain)));
    return collateral_set_root_crl(c, buf_span(&f[PART_ROOT_CRL].answer.body));
}

/* Never by something older, which the service may still give while it is being changed. */
static bool is_newer(const struct shared_collateral *c, const struct shared_collateral *old)
{
    if (!old || old->refused)
        return true;
    return c->evaluation >= old->evaluation &&
           (c->issued_s > old->issued_s ||
            (c->issued_s == old->issued_s && c->until_s > old->until_s)); /* another list */
}

static bool is_usable(const struct shared_collateral *c)
{
    return c && !c->refused && wall_s() < c->until_s;
}

/* What has not ended goes first; what has, still says more than nothing. */
static struct shared_collateral *pick(const struct platform *p, bool stapled)
{
    struct shared_collateral *imported = bundle_find(p->all, &p->of);

    if (is_usable(p->have))
        return p->have;
    if (is_usable(imported))
        return imported;
    if (stapled)
        return NULL;
    return p->have ? p->have : imported;
}

static void answer_waiting(struct platform *p)
{
    struct list batch, *it;

    list_init(&batch);
    while ((it = list_pop(&p->waiting)))
        list_push(&batch, it);
    while ((it = list_pop(&batch))) {
        struct waiting *w = CONTAINER(it, struct waiting, link);
        struct shared_collateral *c = pick(p, w->stapled);
        collateral_fn *fn = w->fn;
        void *arg = w->arg;
        free(w);
        fn(arg, c ? shared_collateral_ref(c) : NULL);
    }
}

static void complain(const struct platform *p)
{
    const uint64_t now = wall_s();
    const bool ending = p->have && p->have->until_s < now + ALARM_S;

    log_event(ending ? LOG_ERROR : LOG_WARN, "collateral_unfetched",
              "platform=%s status=%u,%u,%u,%u days_left=%llu", p->key, p->parts[0].answer.status,
              p->parts[1].answer.status, p->parts[2].answer.status, p->parts[3].answer.status,
              (unsigned long long)(is_usable(p->have) ? (p->have->until_s - now) / DAY_S : 0));
}

static void fetch_end(struct platform *p)
{
    AUTO(collateral_fini) struct collateral c = {0};
    struct shared_collateral *shared = assemble(p, &c) == 0 ? shared_collateral_of(&c, true) : NULL;

    if (shared && !shared_collateral_is_for(shared, &p->of)) {
        shared_collateral_unref(shared);
        shared = NULL;
    }
    if (!shared)
        complain(p);
    for (size_t i = 0; i < PARTS; i++) {
        buf_fini(&p->parts[i].answer.body);
        buf_fini(&p->parts[i].chain);
    }
    if (shared && is_newer(shared, p->have)) {
        shared_collateral_unref(p->have);
        p->have = shared_collateral_ref(shared);
        keep_on_disk(p);
        log_event(LOG_INFO, "collateral_fetched", "platform=%s evaluation=%lld", p->key,
                  (long long)shared->evaluation);
    }
    shared_collateral_unref(shared);
    answer_waiting(p);
}

static void part_done(void *arg, struct http_transfer *t, int error)
{
    struct part_fetch *f = arg;
    struct platform *p = f->platform;
    const char *header = chain_headers[f - p->parts];

    f->good = error == 0 && f->answer.status == 200;
    if (f->good && header)
        buf_append(&f->chain, http_transfer_field(t, header));
    if (--p->running == 0)
        fetch_end(p);
}

static void fetch_begin(struct platform *p)
{
    p->tried_ms = loop_now(p->all->loop);
    for (size_t i = 0; i < PARTS; i++) {
        AUTO(buf_fini) struct buf url = {0};
        struct part_fetch *f = &p->parts[i];
        part_url(p, (enum part)i, &url);
        const struct http_fetch fetch = {
            .url = buf_cstr(&url), .method = "GET", .total_ms = FETCH_MS, .silent_ms = FETCH_MS};
        f->platform = p;
        f->good = false;
        f->answer.max = BODY_MAX;
        f->answer.done = part_done;
        f->answer.arg = f;
        if (http_whole_start(&f->answer, p->all->client, &fetch) == 0)
            p->running++;
    }
}

/* At half of its life, or when there is none; not again within a minute. */
static bool is_due(const struct platform *p)
{
    const struct shared_collateral *c = p->have;

    if (!p->all->client || p->all->stopped || p->running > 0 ||
        (p->tried_ms > 0 && loop_now(p->all->loop) - p->tried_ms < RETRY_MS))
        return false;
    return !c || c->refused || wall_s() > c->issued_s + (c->until_s - c->issued_s) / 2;
}

/* ---- Asking ---- */

static void platform_free(struct platform *p)
{
    shared_collateral_unref(p->have);
    for (size_t i = 0; i < PARTS; i++) {
        buf_fini(&p->parts[i].answer.body);
        buf_fini(&p->parts[i].chain);
    }
    free(p);
}

/* Makes room: the one that was asked for the longest ago, and is not being fetched. What was
 * fetched stays on disk. */
static bool forget_oldest(struct collaterals *all)
{
    struct platform *oldest = NULL;
    struct span key;
    void *value;
    size_t at = 0;

    while (map_next(&all->platforms, &at, &key, &value)) {
        struct platform *p = value;
        if (p->running == 0 && list_empty(&p->waiting) &&
            (!oldest || p->asked_ms < oldest->asked_ms))
            oldest = p;
    }
    if (!oldest)
        return false;
    (void)map_del(&all->platforms, span_str(oldest->key));
    platform_free(oldest);
    return true;
}

static struct platform *platform_get(struct collaterals *all, const struct attest_platform *of)
{
    char fmspc[13], key[PLATFORM_KEY_LEN];
    struct platform *p;

    hex_encode(fmspc, SPAN_OF(of->fmspc));
    snprintf(key, sizeof(key), "%s-%c", fmspc, of->platform_ca ? 'p' : 'r');
    p = map_get(&all->platforms, span_str(key));
    if (p)
        return p;
    while (all->platforms.len >= PLATFORMS_MAX && forget_oldest(all))
        ;
    if (all->platforms.len >= PLATFORMS_MAX)
        return NULL;
    p = mem_zero(sizeof(*p));
    p->all = all;
    p->of = *of;
    memcpy(p->key, key, sizeof(p->key));
    list_init(&p->waiting);
    map_put(&all->platforms, span_str(key), p);
    return p;
}

void collaterals_get(struct collaterals *c, const struct attest_platform *platform,
                     collateral_fn *fn, void *arg)
{
    struct platform *p = platform_get(c, platform);

    if (!p) { /* all of them are being fetched */
        fn(arg, NULL);
        return;
    }
    p->asked_ms = loop_now(c->loop);
    look_on_disk(p);
    if (is_due(p))
        fetch_begin(p);
    struct waiting *w = mem_zero(sizeof(*w));
    w->stapled = platform->stapled;
    w->fn = fn;
    w->arg = arg;
    list_push(&p->waiting, &w->link);
    if (p->running == 0 || is_usable(p->have))
        answer_waiting(p);
}

/* ---- Life ---- */

static char *copy(const char *text)
{
    return text && text[0] ? mem_strdup(text) : NULL;
}

int collaterals_new(struct collaterals **out, struct loop *l, const struct collaterals_options *o)
{
    const bool fetches = o->url && o->url[0];
    const bool imports = o->bundle && o->bundle[0];
    const struct http_client_options options = {.max_connections = CONNECTIONS,
                                                .connect_ms = FETCH_MS};
    struct collaterals *c;
    int error = 0;

    *out = NULL;
    if (!fetches && !imports)
        return 0;
    c = mem_zero(sizeof(*c));
    c->loop = l;
    c->url = copy(o->url);
    c->root_crl_url = copy(o->root_crl_url);
    if (!c->root_crl_url)
        c->root_crl_url = mem_strdup(INTEL_ROOT_CRL);
    c->folder = copy(o->cache);
    if (imports)
        error = bundle_read(c, o->bundle);
    if (error == 0 && fetches)
        error = http_client_new(&c->client, l, &options);
    if (error < 0) {
        collaterals_free(c);
        return error;
    }
    *out = c;
    return 0;
}

void collaterals_stop(struct collaterals *c)
{
    struct span key;
    void *value;
    size_t at = 0;

    if (!c || c->stopped)
        return;
    c->stopped = true;
    while (map_next(&c->platforms, &at, &key, &value)) {
        struct platform *p = value;
        for (size_t i = 0; i < PARTS; i++)
            http_whole_cancel(&p->parts[i].answer);
        p->running = 0;
        answer_waiting(p);
    }
}

void collaterals_free(struct collaterals *c)
{
    struct span key;
    void *value;
    size_t at = 0;

    if (!c)
        return;
    collaterals_stop(c);
    if (c->client)
        http_client_free(c->client);
    while (map_next(&c->platforms, &at, &key, &value))
        platform_free(value);
    map_fini(&c->platforms);
    for (size_t i = 0; i < c->bundle_count; i++)
        shared_collateral_unref(c->bundle[i].shared);
    free(c->bundle);
    free(c->url);
    free(c->root_crl_url);
    free(c->folder);
    free(c);
}
