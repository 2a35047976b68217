/* Which evidence stays: all that a worker stands on now, of the rest the newest. */
#include "rig.h"

enum { HOUR_MS = 3600000, WORKERS = 40, DOCUMENT_LEN = 2 << 20 };

/* A worker as far as evidence looks at it. */
static void worker_init(struct pool_worker *w, uint8_t number)
{
    w->keyset.receipt_key[0] = number;
    memset(buf_reserve(&w->document, DOCUMENT_LEN), 'x', DOCUMENT_LEN);
    w->document.len = DOCUMENT_LEN;
}

static void prove(struct rig *r, struct pool_worker *w, uint8_t number, uint8_t generation)
{
    const uint8_t name[] = {number, generation};

    memcpy(w->key.kfp, name, sizeof(name));
    memcpy(w->keyset.digest, name, sizeof(name));
    evidence_keep(r->pool, w);
}

static bool is_kept(const struct rig *r, uint8_t number, uint8_t generation)
{
    uint8_t kfp[KFP_LEN] = {number, generation};

    return evidence_of(r->pool, kfp) != NULL;
}

static size_t kept_count(const struct rig *r, uint8_t generation)
{
    size_t count = 0;

    for (size_t i = 0; i < WORKERS; i++)
        count += is_kept(r, (uint8_t)i, generation);
    return count;
}

/* With eight GPUs a document is 144 KB: some hundred workers have more than is kept of those gone.
 */
static void what_is_in_force_stays_whatever_it_takes(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    static struct pool_worker workers[WORKERS];

    (void)state;
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i].pool = r->pool;
        worker_init(&workers[i], (uint8_t)i);
        prove(r, &workers[i], (uint8_t)i, 1);
    }
    assert_int_equal(kept_count(r, 1), WORKERS);
    for (size_t i = 0; i < WORKERS; i++)
        prove(r, &workers[i], (uint8_t)i, 2);
    assert_int_equal(kept_count(r, 2), WORKERS);
    assert_int_equal(kept_count(r, 1), 0);
    for (size_t i = 0; i < WORKERS; i++)
        evidence_let_go(&workers[i]);
    for (size_t i = 0; i < WORKERS; i++)
        buf_fini(&workers[i].document);
    rig_free(r);
}

static void of_those_gone_the_newest_stay(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = mem_zero(sizeof(*w));

    (void)state;
    w->pool = r->pool;
    worker_init(w, 7);
    for (uint8_t i = 0; i < WORKERS; i++)
        prove(r, w, i, 1);
    assert_false(is_kept(r, 0, 1));
    assert_true(is_kept(r, WORKERS - 2, 1));
    assert_true(is_kept(r, WORKERS - 1, 1));
    evidence_let_go(w);
    buf_fini(&w->document);
    free(w);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_force_stays_whatever_it_takes),
        cmocka_unit_test(of_those_gone_the_newest_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
