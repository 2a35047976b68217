/* Keys and contexts of the tunnel's TLS; what two ends make of each other is in test_tunnel.c. */
#include "operator.h"

#include <sys/stat.h>

static void an_operators_files_make_a_server_context_with_the_cas_pin(void **state)
{
    struct operator_dir d;
    struct tls_ctx *ctx;
    uint8_t op[TLS_SPKI_LEN], pin[TLS_SPKI_LEN];
    char ca[128];

    (void)state;
    operator_new(&d);
    assert_int_equal(tls_server_new(&ctx, d.chain, d.key), 0);
    tls_server_op(ctx, op);
    assert_memory_equal(op, d.op, TLS_SPKI_LEN);
    snprintf(ca, sizeof(ca), "%s/ca.pem", d.path);
    assert_int_equal(tls_pem_spki(ca, pin), 0);
    assert_memory_equal(pin, d.op, TLS_SPKI_LEN);
    assert_int_equal(tls_pem_spki(d.chain, pin), 0);
    assert_memory_not_equal(pin, d.op, TLS_SPKI_LEN); /* the leaf comes first */
    tls_ctx_free(ctx);
    operator_free(&d);
}

static void keys_are_readable_by_their_owner_only(void **state)
{
    struct operator_dir d;
    struct stat st;
    char ca[128];

    (void)state;
    operator_new(&d);
    assert_int_equal(stat(d.key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    snprintf(ca, sizeof(ca), "%s/ca.key", d.path);
    assert_int_equal(stat(ca, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    operator_free(&d);
}

static void existing_files_are_not_touched(void **state)
{
    struct operator_dir d;
    struct stat before, after;
    uint8_t op[TLS_SPKI_LEN];
    char ca[128];

    (void)state;
    operator_new(&d);
    snprintf(ca, sizeof(ca), "%s/ca.pem", d.path);
    unlink(ca); /* one missing file does not make the others fair game */
    assert_int_equal(stat(d.key, &before), 0);
    assert_int_equal(tls_operator_make(d.path, 30, op), E_EXISTS);
    assert_int_equal(stat(d.key, &after), 0);
    assert_true(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec && before.st_ino == after.st_ino);
    assert_int_equal(access(ca, F_OK), -1);
    operator_free(&d);
}

static void a_missing_folder_is_an_error(void **state)
{
    uint8_t op[TLS_SPKI_LEN];

    (void)state;
    assert_int_equal(tls_operator_make("/nonexistent/folder", 30, op), E_IO);
}

static void unusable_files_are_refused_at_start(void **state)
{
    struct operator_dir d, other;
    struct tls_ctx *ctx = NULL;
    char ca[128];

    (void)state;
    operator_new(&d);
    operator_new(&other);
    snprintf(ca, sizeof(ca), "%s/ca.pem", d.path);
    assert_int_equal(tls_server_new(&ctx, "/nonexistent", d.key), E_INVALID);
    assert_int_equal(tls_server_new(&ctx, d.chain, "/nonexistent"), E_INVALID);
    assert_int_equal(tls_server_new(&ctx, d.chain, other.key), E_INVALID); /* not its key */
    assert_int_equal(tls_server_new(&ctx, ca, d.key), E_INVALID);          /* no leaf */
    assert_int_equal(tls_server_new(&ctx, d.key, d.key), E_INVALID);       /* no certificate */
    assert_null(ctx);
    operator_free(&d);
    operator_free(&other);
}

static void each_worker_context_has_a_fresh_key(void **state)
{
    struct tls_ctx *a, *b;
    uint8_t spki_a[TLS_SPKI_LEN], spki_b[TLS_SPKI_LEN];

    (void)state;
    assert_int_equal(tls_client_new(&a), 0);
    assert_int_equal(tls_client_new(&b), 0);
    tls_client_spki(a, spki_a);
    tls_client_spki(b, spki_b);
    assert_memory_not_equal(spki_a, spki_b, TLS_SPKI_LEN);
    tls_ctx_free(a);
    tls_ctx_free(b);
    tls_ctx_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_operators_files_make_a_server_context_with_the_cas_pin),
        cmocka_unit_test(keys_are_readable_by_their_owner_only),
        cmocka_unit_test(existing_files_are_not_touched),
        cmocka_unit_test(a_missing_folder_is_an_error),
        cmocka_unit_test(unusable_files_are_refused_at_start),
        cmocka_unit_test(each_worker_context_has_a_fresh_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
