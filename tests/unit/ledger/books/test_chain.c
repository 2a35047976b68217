/* The tree of RFC 9162 against the definition itself, and its paths. */
#include "ledger/books/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/encode.h"

enum { MOST = 70 };

/* RFC 9162 §2.1.1, word by word. */
static void defined_root(uint8_t out[SHA256_LEN], uint8_t (*leaves)[SHA256_LEN], size_t count)
{
    uint8_t left[SHA256_LEN], right[SHA256_LEN];
    size_t k = 1;

    if (count == 0) {
        sha256(out, SPAN(""));
        return;
    }
    if (count == 1) {
        memcpy(out, leaves[0], SHA256_LEN);
        return;
    }
    while (2 * k < count)
        k *= 2;
    defined_root(left, leaves, k);
    defined_root(right, leaves + k, count - k);
    const struct span parts[] = {SPAN("\1"), SPAN_OF(left), SPAN_OF(right)};
    sha256_parts(out, parts, 3);
}

static void make_leaves(uint8_t (*leaves)[SHA256_LEN])
{
    for (size_t i = 0; i < MOST; i++)
        tree_leaf(leaves[i], span_of(&i, 1));
}

static void a_growing_tree_has_the_defined_root_at_every_size(void **state)
{
    uint8_t leaves[MOST][SHA256_LEN], expected[SHA256_LEN], got[SHA256_LEN];
    struct tree t = {0};

    (void)state;
    make_leaves(leaves);
    for (size_t n = 0; n < MOST; n++) {
        defined_root(expected, leaves, n);
        tree_root(&t, got);
        assert_memory_equal(expected, got, SHA256_LEN);
        tree_add(&t, leaves[n]);
    }
}

/* The roots of certificate-transparency's well-known test leaves. */
static void the_roots_of_known_leaves_are_right(void **state)
{
    static const char *const inputs[] = {"",
                                         "00",
                                         "10",
                                         "2021",
                                         "3031",
                                         "40414243",
                                         "5051525354555657",
                                         "606162636465666768696a6b6c6d6e6f"};
    static const char *const roots[] = {
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
    struct tree t = {0};

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        uint8_t bytes[16], leaf[SHA256_LEN], root[SHA256_LEN];
        char hex[2 * SHA256_LEN + 1];
        const size_t len = strlen(inputs[i]) / 2;
        assert_int_equal(hex_decode(bytes, len, span_str(inputs[i])), 0);
        tree_leaf(leaf, span_of(bytes, len));
        tree_add(&t, leaf);
        tree_root(&t, root);
        hex_encode(hex, SPAN_OF(root));
        assert_string_equal(hex, roots[i]);
    }
}

static void every_leaf_of_every_size_has_a_path_and_no_other_passes(void **state)
{
    uint8_t leaves[MOST][SHA256_LEN], root[SHA256_LEN];

    (void)state;
    make_leaves(leaves);
    for (size_t n = 1; n < MOST; n++) {
        defined_root(root, leaves, n);
        for (size_t i = 0; i < n; i++) {
            AUTO(buf_fini) struct buf path = {0};
            tree_path(&path, leaves[0], n, i);
            assert_int_equal(tree_verify(root, leaves[i], i, n, buf_span(&path)), 0);
            assert_int_equal(tree_verify(root, leaves[(i + 1) % MOST], i, n, buf_span(&path)),
                             E_AUTH);
            if (n > 1)
                assert_int_equal(
                    tree_verify(root, leaves[i], i, n, span_cut(buf_span(&path), 0, path.len - 32)),
                    E_AUTH);
            if (path.len > 0) {
                path.data[path.len / 2] ^= 1;
                assert_int_equal(tree_verify(root, leaves[i], i, n, buf_span(&path)), E_AUTH);
            }
        }
        assert_int_equal(tree_verify(root, leaves[0], n, n, SPAN("")), E_AUTH);
    }
}

static void a_chain_depends_on_every_bill_and_on_their_order(void **state)
{
    uint8_t ab[SHA256_LEN], ba[SHA256_LEN], other[SHA256_LEN];

    (void)state;
    chain_begin(ab, "acme");
    chain_begin(ba, "acme");
    chain_begin(other, "acmf");
    assert_memory_equal(ab, ba, SHA256_LEN);
    assert_memory_not_equal(ab, other, SHA256_LEN);
    chain_add(ab, SPAN("a")), chain_add(ab, SPAN("b"));
    chain_add(ba, SPAN("b")), chain_add(ba, SPAN("a"));
    assert_memory_not_equal(ab, ba, SHA256_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_growing_tree_has_the_defined_root_at_every_size),
        cmocka_unit_test(the_roots_of_known_leaves_are_right),
        cmocka_unit_test(every_leaf_of_every_size_has_a_path_and_no_other_passes),
        cmocka_unit_test(a_chain_depends_on_every_bill_and_on_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
